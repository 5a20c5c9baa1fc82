"""A deployment taken away, and the proof that nothing of it is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from pumice.deploy.aws import bedrock, bucket, training
from pumice.deploy.aws.account import Account, missing
from pumice.deploy.aws.api import log_name
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.stacks import Stack
from pumice.errors import ConflictError

Tell = Callable[[str], None]


def destroy(facts: Facts, account: Account, tell: Tell) -> list[str]:
    """Delete both stacks, the logs that SageMaker made beside them, and the bucket; what was looked for afterwards.

    Raises `ConflictError` naming what is still there.
    """
    cloudformation, s3 = account.client("cloudformation"), account.client("s3")
    for name in (facts.api_stack, facts.endpoint_stack):
        tell(f"Stack {name}")
        stack = Stack(cloudformation, name)
        if name == facts.api_stack and (page := stack.outputs().get("PageBucket")):
            # CloudFormation deletes no bucket that holds something.
            bucket.empty(s3, page)
        stack.delete(tell)
    bedrock.remove(facts, account, tell)
    training.remove(facts, account, tell)
    logs = account.client("logs")
    for name in log_groups(facts, logs):
        tell(f"Log {name}")
        logs.delete_log_group(logGroupName=name)
    tell(f"Bucket {facts.bucket}")
    bucket.remove(s3, facts.bucket)
    return prove(facts, account)


def log_groups(facts: Facts, logs: Any) -> list[str]:
    """Those of this deployment, whoever made them."""
    wanted = (f"/aws/sagemaker/Endpoints/{facts.endpoint}", log_name(facts), f"/aws/lambda/{facts.endpoint}-idle")
    found = []
    for name in wanted:
        groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        found += [name for each in groups if each["logGroupName"] == name]
    return found


def prove(facts: Facts, account: Account) -> list[str]:
    """Everything that was looked for and is gone. Raises `ConflictError` with what is not."""
    left: list[str] = []
    gone: list[str] = []
    for what, there in leftovers(facts, account).items():
        (left if there else gone).append(what)
    if left:
        raise ConflictError(
            f"{len(left)} of {facts.name} is still there: {', '.join(left)}.",
            "AWS may take a minute to forget, or the credentials may not delete it.",
            f"Run the same command again: pumice deploy aws destroy {facts.name}",
        )
    return gone


def leftovers(facts: Facts, account: Account) -> dict[str, bool]:
    """Whether each thing that costs, or holds data, is there; asked of its own service, not of CloudFormation."""
    cloudformation, s3 = account.client("cloudformation"), account.client("s3")
    sagemaker, functions = account.client("sagemaker"), account.client("lambda")
    table = f"{facts.endpoint}-requests"
    names = (facts.endpoint_stack, facts.api_stack, bedrock.stack_name(facts), training.stack_name(facts))
    stacks = {f"stack {name}": Stack(cloudformation, name).describe() is not None for name in names}
    named = sagemaker.list_inference_components(NameContains=f"{facts.endpoint}-")["InferenceComponents"]
    components = [each for each in named if each["EndpointName"] == facts.endpoint]
    configs = sagemaker.list_endpoint_configs(NameContains=facts.endpoint)["EndpointConfigs"]
    return {
        **stacks,
        f"endpoint {facts.endpoint}": found(sagemaker.describe_endpoint, EndpointName=facts.endpoint),
        f"inference components of {facts.endpoint}": bool(components),
        f"endpoint configurations of {facts.endpoint}": bool(configs),
        f"function {facts.endpoint}": found(functions.get_function, FunctionName=facts.endpoint),
        f"function {facts.endpoint}-idle": found(functions.get_function, FunctionName=f"{facts.endpoint}-idle"),
        f"table {table}": found(account.client("dynamodb").describe_table, TableName=table),
        f"bucket {facts.bucket}": bucket.exists(s3, facts.bucket),
        f"bucket {facts.bucket}-page": bucket.exists(s3, f"{facts.bucket}-page"),
        "log groups": bool(log_groups(facts, account.client("logs"))),
    }


def found(describe: Callable[..., Any], **which: str) -> bool:
    """Whether a service knows such a thing."""
    try:
        describe(**which)
    except ClientError as error:
        if missing(error):
            return False
        raise
    return True
