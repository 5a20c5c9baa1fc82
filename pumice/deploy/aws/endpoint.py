"""The stack that costs by the hour: models, endpoint, alarms, budget, and what switches an idle endpoint off."""

from __future__ import annotations

from typing import Any

from pumice.deploy.aws.facts import Facts, Variant
from pumice.deploy.aws.template import (
    Template,
    allow,
    arn,
    att,
    log_group,
    ref,
    resource,
    role,
    sub,
    template,
    writes_to,
)

GPU_AMI = "al2-ami-sagemaker-inference-gpu-3-1"
"""Its driver is new enough for the CUDA 13 of AWS's vLLM image; SageMaker's default one is not."""
EVERY = 10
"""Minutes between two looks at whether the endpoint is idle."""


def endpoint_stack(facts: Facts) -> Template:
    """The whole stack."""
    resources: dict[str, Any] = {
        "ExecutionRole": execution_role(facts),
        **{f"Model{each.name}": model(facts, each) for each in facts.variants},
        "Config": config(facts),
        "Endpoint": endpoint(facts),
        **components(facts),
        # CloudWatch and Budgets cannot publish to a topic under the key `alias/aws/sns`; nothing is stored in it.
        "Topic": resource("AWS::SNS::Topic"),
        "TopicPolicy": topic_policy(),
        "ErrorsAlarm": alarm("Invocation5XXErrors", {"Statistic": "Sum", "Threshold": 5, "Period": 60}, facts),
        "LatencyAlarm": alarm(
            "ModelLatency", {"ExtendedStatistic": "p95", "Threshold": 20_000_000, "Period": 300}, facts
        ),
        "Budget": budget(facts),
    }
    if facts.email:
        resources["Mail"] = resource(
            "AWS::SNS::Subscription", Protocol="email", TopicArn=ref("Topic"), Endpoint=facts.email
        )
    if facts.mode == "real-time" and facts.idle_minutes:
        resources |= sweeper(facts)
    if facts.mode == "async":
        resources |= scaling_to_zero(facts)
    outputs = {"EndpointName": att("Endpoint", "EndpointName"), "TopicArn": ref("Topic")}
    return template("Pumice: the endpoint. Delete this stack to stop paying by the hour.", resources, outputs)


def execution_role(facts: Facts) -> dict[str, Any]:
    """What the container may do: read its model, be pulled, write its log, and put asynchronous answers down."""
    bucket = sub(f"arn:${{AWS::Partition}}:s3:::{facts.bucket}")
    images = sub("arn:${AWS::Partition}:ecr:${AWS::Region}:*:repository/*")
    pull = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]
    statements = [
        allow("s3:GetObject", inside(facts, "models/*")),
        allow("s3:ListBucket", bucket, {"StringLike": {"s3:prefix": "models/*"}}),
        allow(pull, images),
        allow("ecr:GetAuthorizationToken", "*"),
        allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
            arn("logs", "log-group:/aws/sagemaker/*"),
        ),
        allow("cloudwatch:PutMetricData", "*", {"StringEquals": {"cloudwatch:namespace": "/aws/sagemaker/Endpoints"}}),
    ]
    if facts.mode == "async":
        statements += [
            allow("s3:PutObject", [inside(facts, "async/*"), inside(facts, "async-failed/*")]),
            allow("s3:GetObject", inside(facts, "async-in/*")),
        ]
    return role("sagemaker.amazonaws.com", "container", statements, ours=True)


def inside(facts: Facts, path: str) -> dict[str, str]:
    """Objects of the deployment's bucket."""
    return sub(f"arn:${{AWS::Partition}}:s3:::{facts.bucket}/{path}")


def model(facts: Facts, variant: Variant) -> dict[str, Any]:
    """Without a name, so that a change makes a new one and the endpoint moves over without a gap."""
    container: dict[str, Any] = {"Image": facts.image}
    if variant.data.endswith("/"):
        source = {"S3Uri": variant.data, "S3DataType": "S3Prefix", "CompressionType": "None"}
        container["ModelDataSource"] = {"S3DataSource": source}
    else:
        container["ModelDataUrl"] = variant.data
    if facts.environment:
        container["Environment"] = dict(facts.environment)
    # A serverless container cannot be isolated, and AWS's own way for adapters does not; no other needs the network,
    # as its model is there before it starts.
    open_ = facts.mode == "serverless" or facts.adapters
    isolated: dict[str, Any] = {} if open_ else {"EnableNetworkIsolation": True}
    return resource(
        "AWS::SageMaker::Model",
        ExecutionRoleArn=att("ExecutionRole", "Arn"),
        PrimaryContainer=container,
        **isolated,
    )


def config(facts: Facts) -> dict[str, Any]:
    """What runs each variant."""
    properties: dict[str, Any] = {"ProductionVariants": [production(facts, each) for each in facts.variants]}
    if facts.adapters:
        properties["ExecutionRoleArn"] = att("ExecutionRole", "Arn")
    if facts.mode == "async":
        bucket = f"s3://{facts.bucket}"
        output = {"S3OutputPath": f"{bucket}/async/", "S3FailurePath": f"{bucket}/async-failed/"}
        properties["AsyncInferenceConfig"] = {
            "OutputConfig": output,
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
        }
    return resource("AWS::SageMaker::EndpointConfig", **properties)


def production(facts: Facts, variant: Variant) -> dict[str, Any]:
    """One variant with the machine under it."""
    made: dict[str, Any] = {"VariantName": variant.name}
    if not facts.adapters:
        # A variant of inference components has no model and no share.
        made |= {"ModelName": att(f"Model{variant.name}", "ModelName"), "InitialVariantWeight": variant.weight}
    if facts.mode == "serverless":
        return made | {"ServerlessConfig": {"MemorySizeInMB": facts.memory, "MaxConcurrency": 5}}
    made |= {
        "InstanceType": facts.instance,
        "InitialInstanceCount": 1,
        "ContainerStartupHealthCheckTimeoutInSeconds": 900,
        "ModelDataDownloadTimeoutInSeconds": 1200,
    }
    return made | ({"InferenceAmiVersion": GPU_AMI} if "/vllm:" in facts.image else {})


def endpoint(facts: Facts) -> dict[str, Any]:
    """A change comes up beside what runs, takes over, and is taken back when errors come."""
    made: dict[str, Any] = {"EndpointName": facts.endpoint, "EndpointConfigName": att("Config", "EndpointConfigName")}
    if facts.mode == "real-time" and not facts.adapters:
        made["DeploymentConfig"] = {
            "BlueGreenUpdatePolicy": {
                "TerminationWaitInSeconds": 60,
                "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE"},
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ref("ErrorsAlarm")}]},
        }
    return resource("AWS::SageMaker::Endpoint", **made)


def components(facts: Facts) -> dict[str, Any]:
    """The base, which takes the machine's GPU, and the adapters over it, which take nothing more."""
    if not facts.adapters:
        return {}
    name = f"{facts.endpoint}-base"
    device = {"NumberOfAcceleratorDevicesRequired": 1} if "/vllm:" in facts.image else {"NumberOfCpuCoresRequired": 1}
    base = resource(
        "AWS::SageMaker::InferenceComponent",
        InferenceComponentName=name,
        EndpointName=att("Endpoint", "EndpointName"),
        VariantName="A",
        Specification={
            "ModelName": att("ModelA", "ModelName"),
            "ComputeResourceRequirements": {"MinMemoryRequiredInMb": 1024, **device},
            "StartupParameters": {
                "ContainerStartupHealthCheckTimeoutInSeconds": 900,
                "ModelDataDownloadTimeoutInSeconds": 1200,
            },
        },
        RuntimeConfig={"CopyCount": 1},
    )
    over = {
        f"Component{each.mark.replace('-', '')}": resource(
            "AWS::SageMaker::InferenceComponent",
            InferenceComponentName=facts.components[each.model],
            EndpointName=att("Endpoint", "EndpointName"),
            Specification={"BaseInferenceComponentName": name, "Container": {"ArtifactUrl": each.data}},
            after=["BaseComponent"],
        )
        for each in facts.adapters
    }
    return {"BaseComponent": base, **over}


def alarm(metric: str, rule: dict[str, Any], facts: Facts) -> dict[str, Any]:
    """Speaks when a number of the endpoint stays too high."""
    dimensions = [{"Name": "EndpointName", "Value": facts.endpoint}, {"Name": "VariantName", "Value": "A"}]
    return resource(
        "AWS::CloudWatch::Alarm",
        AlarmActions=[ref("Topic")],
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=dimensions,
        EvaluationPeriods=2,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
        **rule,
    )


def topic_policy() -> dict[str, Any]:
    """CloudWatch and Budgets may publish, on behalf of this account."""
    statement = allow("sns:Publish", ref("Topic"), {"StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")}})
    statement["Principal"] = {"Service": ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return resource("AWS::SNS::TopicPolicy", Topics=[ref("Topic")], PolicyDocument=document)


def budget(facts: Facts) -> dict[str, Any]:
    """Of the whole account, as costs by tag must first be switched on by hand."""
    notification = {
        "NotificationType": "ACTUAL",
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": 80,
        "ThresholdType": "PERCENTAGE",
    }
    return resource(
        "AWS::Budgets::Budget",
        Budget={
            "BudgetName": f"pumice-{facts.name}",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": facts.budget, "Unit": "USD"},
        },
        NotificationsWithSubscribers=[
            {"Notification": notification, "Subscribers": [{"SubscriptionType": "SNS", "Address": ref("Topic")}]}
        ],
        after=["TopicPolicy"],
    )


def sweeper(facts: Facts) -> dict[str, Any]:
    """A function that looks at the endpoint every few minutes and deletes it when it is idle; nothing else may go."""
    name = f"pumice-{facts.name}-idle"
    log = f"/aws/lambda/{name}"
    target = arn("sagemaker", f"endpoint/{facts.endpoint}")
    statements = [
        allow(["sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint"], target),
        # Neither CloudWatch nor a list knows a narrower resource.
        allow(["cloudwatch:GetMetricStatistics", "sagemaker:ListInferenceComponents"], "*"),
        allow("sagemaker:DeleteInferenceComponent", arn("sagemaker", f"inference-component/{facts.endpoint}-*")),
        writes_to(log),
    ]
    variables = {"ENDPOINT_NAME": facts.endpoint, "IDLE_MINUTES": str(facts.idle_minutes)}
    function = resource(
        "AWS::Lambda::Function",
        FunctionName=name,
        Runtime="python3.12",
        Architectures=["arm64"],
        Handler="idle.handler",
        Role=att("IdleRole", "Arn"),
        Timeout=600 if facts.adapters else 30,
        MemorySize=128,
        Code={"S3Bucket": facts.bucket, "S3Key": facts.code},
        Environment={"Variables": variables},
        after=["IdleLog"],
    )
    rule = resource(
        "AWS::Events::Rule",
        ScheduleExpression=f"rate({EVERY} minutes)",
        State="ENABLED",
        Targets=[{"Id": "idle", "Arn": att("IdleFunction", "Arn")}],
    )
    permission = resource(
        "AWS::Lambda::Permission",
        FunctionName=ref("IdleFunction"),
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=att("IdleRule", "Arn"),
    )
    return {
        "IdleRole": role("lambda.amazonaws.com", "idle", statements),
        "IdleLog": log_group(log),
        "IdleFunction": function,
        "IdleRule": rule,
        "IdlePermission": permission,
    }


def scaling_to_zero(facts: Facts) -> dict[str, Any]:
    """An asynchronous endpoint has a queue: without work it keeps no machine, and the first request starts one."""
    target = resource(
        "AWS::ApplicationAutoScaling::ScalableTarget",
        ServiceNamespace="sagemaker",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        ResourceId=f"endpoint/{facts.endpoint}/variant/A",
        MinCapacity=0,
        MaxCapacity=1,
        after=["Endpoint"],
    )
    backlog: dict[str, Any] = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": facts.endpoint}],
        "Statistic": "Average",
    }
    follow = resource(
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        PolicyName=f"{facts.endpoint}-backlog",
        PolicyType="TargetTrackingScaling",
        ScalingTargetId=ref("Target"),
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 2,
            "ScaleInCooldown": facts.idle_minutes * 60,
            "CustomizedMetricSpecification": {"MetricName": "ApproximateBacklogSizePerInstance", **backlog},
        },
    )
    # With no machine there is no backlog a machine, so the first request needs a rule of its own.
    start = resource(
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        PolicyName=f"{facts.endpoint}-first",
        PolicyType="StepScaling",
        ScalingTargetId=ref("Target"),
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "Cooldown": 300,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )
    waiting = resource(
        "AWS::CloudWatch::Alarm",
        AlarmActions=[ref("StartPolicy")],
        MetricName="HasBacklogWithoutCapacity",
        **backlog,
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="missing",
    )
    return {"Target": target, "FollowPolicy": follow, "StartPolicy": start, "WaitingAlarm": waiting}
