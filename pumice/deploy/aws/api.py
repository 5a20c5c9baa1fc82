"""The stack that costs by the request: gateway, keys, function, request log, and the console behind CloudFront."""

from __future__ import annotations

import json
from typing import Any

from pumice.deploy.aws import page
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.template import (
    Template,
    allow,
    arn,
    att,
    log_group,
    ref,
    resource,
    role,
    short_hash,
    sub,
    template,
    writes_to,
)

STAGE = "live"
SECONDS = 600
"""For the longest answer; the function ends before, so that its own error is what the caller reads."""
PATHS = ("chat/completions", "feedback")
"""Under /v1."""


def api_stack(facts: Facts) -> Template:
    """The whole stack."""
    methods = gateway_methods()
    # A deployment is a snapshot that never changes: its name must, or changed methods never go live.
    deployment = f"Deployment{short_hash(methods)}"
    resources = {
        "Requests": requests_table(facts),
        "FunctionRole": function_role(facts),
        "FunctionLog": log_group(log_name(facts)),
        "Function": function(facts),
        "Api": resource("AWS::ApiGateway::RestApi", Name=facts.endpoint, EndpointConfiguration={"Types": ["REGIONAL"]}),
        **methods,
        deployment: resource(
            "AWS::ApiGateway::Deployment",
            RestApiId=ref("Api"),
            after=[name for name, each in methods.items() if each["Type"].endswith("Method")],
        ),
        "Stage": stage(deployment),
        "Permission": permission(),
        "Key": resource("AWS::ApiGateway::ApiKey", Enabled=True, Name=facts.endpoint),
        "Plan": usage_plan(facts),
        "PlanKey": resource(
            "AWS::ApiGateway::UsagePlanKey", KeyId=ref("Key"), KeyType="API_KEY", UsagePlanId=ref("Plan")
        ),
        "ErrorFilter": error_filter(),
        "ErrorAlarm": error_alarm(facts),
        "Dashboard": dashboard(facts),
        **(page.resources(facts, STAGE) if facts.page else {}),
    }
    outputs = {
        "Url": sub(f"https://${{Api}}.execute-api.${{AWS::Region}}.${{AWS::URLSuffix}}/{STAGE}/v1"),
        "ApiId": ref("Api"),
        "KeyId": ref("Key"),
        "Table": ref("Requests"),
        **(page.outputs() if facts.page else {}),
    }
    return template("Pumice: the API in front of the endpoint. It costs by the request.", resources, outputs)


def log_name(facts: Facts) -> str:
    """The function's log."""
    return f"/aws/lambda/{facts.endpoint}"


def requests_table(facts: Facts) -> dict[str, Any]:
    """One row a request, found by its id or by its day, gone by itself after 30 days."""
    names = ("id", "day", "at")
    by_day = [{"AttributeName": "day", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}]
    made = resource(
        "AWS::DynamoDB::Table",
        TableName=f"{facts.endpoint}-requests",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[{"IndexName": "by-day", "KeySchema": by_day, "Projection": {"ProjectionType": "ALL"}}],
        TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True},
        SSESpecification={"SSEEnabled": True},
    )
    return made | {"DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}


def function_role(facts: Facts) -> dict[str, Any]:
    """What the function may do: ask the one endpoint, write to the one table and the one log."""
    targets = [arn("sagemaker", f"endpoint/{facts.endpoint}")]
    if facts.adapters:
        targets.append(arn("sagemaker", f"inference-component/{facts.endpoint}-*"))
    statements = [
        allow(["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"], targets),
        allow(["dynamodb:PutItem", "dynamodb:UpdateItem"], att("Requests", "Arn")),
        writes_to(log_name(facts)),
    ]
    return role("lambda.amazonaws.com", "gateway", statements)


def function(facts: Facts) -> dict[str, Any]:
    """The handler, with what it must know."""
    variables = {
        "ENDPOINT_NAME": facts.endpoint,
        "TABLE_NAME": ref("Requests"),
        "LOG_BODIES": str(int(facts.log_bodies)),
        **({"COMPONENTS": json.dumps(facts.components)} if facts.adapters else {}),
        # Lambda's own loop for Python cannot stream; ours takes its place.
        "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/runtime.sh",
    }
    return resource(
        "AWS::Lambda::Function",
        FunctionName=facts.endpoint,
        Runtime="python3.12",
        Architectures=["arm64"],
        Handler="app.handler",
        Role=att("FunctionRole", "Arn"),
        Timeout=SECONDS - 10,
        MemorySize=256,
        Code={"S3Bucket": facts.bucket, "S3Key": facts.code},
        Environment={"Variables": variables},
        after=["FunctionLog"],
    )


def gateway_methods() -> dict[str, Any]:
    """Every path with its POST, which needs a key, and the OPTIONS that a browser asks first."""
    made: dict[str, Any] = {}
    for path in PATHS:
        parent, name = att("Api", "RootResourceId"), ""
        for part in ["v1", *path.split("/")]:
            name += part.capitalize()
            made[f"{name}Path"] = resource(
                "AWS::ApiGateway::Resource", RestApiId=ref("Api"), ParentId=parent, PathPart=part
            )
            parent = ref(f"{name}Path")  # type: ignore[assignment]
        made |= {f"{name}Post": post(name), f"{name}Options": options(name)}
    return made


def post(name: str) -> dict[str, Any]:
    """Through to the function, and back piece by piece."""
    functions = "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2021-11-15/functions"
    return resource(
        "AWS::ApiGateway::Method",
        RestApiId=ref("Api"),
        ResourceId=ref(f"{name}Path"),
        HttpMethod="POST",
        AuthorizationType="NONE",
        ApiKeyRequired=True,
        Integration={
            "Type": "AWS_PROXY",
            "IntegrationHttpMethod": "POST",
            "TimeoutInMillis": SECONDS * 1000,
            "ResponseTransferMode": "STREAM",
            "Uri": sub(f"{functions}/${{Function.Arn}}/response-streaming-invocations"),
        },
    )


def options(name: str) -> dict[str, Any]:
    """What a page from elsewhere may send: answered by the gateway itself."""
    head = "method.response.header.Access-Control-Allow-"
    values = {"Origin": "'*'", "Headers": "'content-type,x-api-key'", "Methods": "'POST,OPTIONS'"}
    return resource(
        "AWS::ApiGateway::Method",
        RestApiId=ref("Api"),
        ResourceId=ref(f"{name}Path"),
        HttpMethod="OPTIONS",
        AuthorizationType="NONE",
        MethodResponses=[{"StatusCode": "200", "ResponseParameters": {head + each: False for each in values}}],
        Integration={
            "Type": "MOCK",
            "RequestTemplates": {"application/json": '{"statusCode": 200}'},
            "IntegrationResponses": [
                {"StatusCode": "200", "ResponseParameters": {head + each: value for each, value in values.items()}}
            ],
        },
    )


def stage(deployment: str) -> dict[str, Any]:
    """Where the methods are live, with a limit over all keys."""
    return resource(
        "AWS::ApiGateway::Stage",
        RestApiId=ref("Api"),
        DeploymentId=ref(deployment),
        StageName=STAGE,
        TracingEnabled=True,
        MethodSettings=[
            {
                "ResourcePath": "/*",
                "HttpMethod": "*",
                "ThrottlingRateLimit": 50,
                "ThrottlingBurstLimit": 100,
                "MetricsEnabled": True,
            }
        ],
    )


def permission() -> dict[str, Any]:
    """This API alone may call the function."""
    source = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*/POST/v1/*"
    return resource(
        "AWS::Lambda::Permission",
        FunctionName=ref("Function"),
        Action="lambda:InvokeFunction",
        Principal="apigateway.amazonaws.com",
        SourceArn=sub(source),
    )


def usage_plan(facts: Facts) -> dict[str, Any]:
    """What one key may ask."""
    return resource(
        "AWS::ApiGateway::UsagePlan",
        UsagePlanName=facts.endpoint,
        ApiStages=[{"ApiId": ref("Api"), "Stage": STAGE}],
        Throttle={"RateLimit": 5, "BurstLimit": 10},
        Quota={"Limit": 10_000, "Period": "MONTH"},
        after=["Stage"],
    )


def error_filter() -> dict[str, Any]:
    """Counts the lines in which the function says that something failed."""
    metric = {"MetricName": "GatewayErrors", "MetricNamespace": "Pumice", "MetricValue": "1", "DefaultValue": 0}
    return resource(
        "AWS::Logs::MetricFilter",
        LogGroupName=ref("FunctionLog"),
        FilterPattern='{ $.level = "ERROR" }',
        MetricTransformations=[metric],
    )


def error_alarm(facts: Facts) -> dict[str, Any]:
    """When callers read 5xx for five minutes."""
    return resource(
        "AWS::CloudWatch::Alarm",
        Namespace="AWS/ApiGateway",
        MetricName="5XXError",
        Dimensions=[{"Name": "ApiName", "Value": facts.endpoint}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=5,
        Threshold=5,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )


def dashboard(facts: Facts) -> dict[str, Any]:
    """Latency, requests and errors, by variant."""
    drawn = []
    for at, (title, metric, statistic) in enumerate(
        [("Latency (p95, ms)", "Latency", "p95"), ("Requests", "Requests", "Sum"), ("Errors", "Errors", "Sum")]
    ):
        lines = [
            ["Pumice", metric, "Endpoint", facts.endpoint, "Variant", variant, {"stat": statistic}]
            for variant in facts.components or ("A", "B")
        ]
        shown = {"region": facts.region, "title": title, "metrics": lines}
        drawn.append({"type": "metric", "x": 8 * at, "y": 0, "width": 8, "height": 6, "properties": shown})
    body = json.dumps({"widgets": drawn}, sort_keys=True)
    return resource("AWS::CloudWatch::Dashboard", DashboardName=facts.endpoint, DashboardBody=body)
