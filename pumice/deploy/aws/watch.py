"""A deployment as it is now: its parts, its log, and one question to it. Changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from pumice.deploy.aws.account import Account, missing
from pumice.deploy.aws.api import log_name
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.stacks import Stack
from pumice.errors import InputError, NotFoundError, UnavailableError


@dataclass(frozen=True)
class Status:
    """What runs, what it costs by the hour now, and what it was asked."""

    endpoint: str
    """`InService`, `Creating` … as SageMaker says it, or `switched off`."""
    variants: dict[str, float]
    """Share of the requests, by variant."""
    stacks: dict[str, str]
    url: str
    page: str
    requests: int
    """In the last hour."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def status(facts: Facts, account: Account) -> Status:
    """Ask every part. Raises `NotFoundError` when none is there."""
    cloudformation = account.client("cloudformation")
    names = (facts.endpoint_stack, facts.api_stack)
    described = {name: Stack(cloudformation, name).describe() for name in names}
    if not any(described.values()):
        raise NotFoundError(f"Nothing of {facts.name} is in {facts.region}.", fix="Apply its plan again, or make one.")
    stacks = {name: found["StackStatus"] if found else "not there" for name, found in described.items()}
    outputs = Stack(cloudformation, facts.api_stack).outputs()
    state, weights = endpoint(facts, account)
    return Status(state, weights, stacks, outputs.get("Url", ""), outputs.get("PageUrl", ""), asked(facts, account))


def endpoint(facts: Facts, account: Account) -> tuple[str, dict[str, float]]:
    """Its state and the shares of its variants."""
    try:
        found = account.client("sagemaker").describe_endpoint(EndpointName=facts.endpoint)
    except ClientError as error:
        if missing(error):
            return "switched off", {}
        raise
    weights = {each["VariantName"]: each.get("CurrentWeight", 0.0) for each in found.get("ProductionVariants", [])}
    whole = sum(weights.values()) or 1.0
    return found["EndpointStatus"], {name: weight / whole for name, weight in weights.items()}


def asked(facts: Facts, account: Account) -> int:
    """Requests of the last hour, by the log."""
    since = datetime.now(UTC) - timedelta(hours=1)
    return sum(1 for row in rows(facts, account, since))


def rows(facts: Facts, account: Account, since: datetime) -> Iterator[dict[str, Any]]:
    """The request log from `since` on, day by day."""
    client = account.client("dynamodb")
    day, today = since.date(), datetime.now(UTC).date()
    while day <= today:
        pages = client.get_paginator("query").paginate(
            TableName=f"{facts.endpoint}-requests",
            IndexName="by-day",
            KeyConditionExpression="#day = :day AND #at >= :since",
            ExpressionAttributeNames={"#day": "day", "#at": "at"},
            ExpressionAttributeValues={":day": {"S": day.isoformat()}, ":since": {"S": since.isoformat()}},
        )
        for page in pages:
            yield from ({key: plain(value) for key, value in item.items()} for item in page["Items"])
        day += timedelta(days=1)


def plain(value: dict[str, Any]) -> Any:
    """One of DynamoDB's values."""
    ((kind, held),) = value.items()
    return float(held) if kind == "N" else held


def logs(facts: Facts, account: Account, since: datetime, tell: Callable[[str], None]) -> int:
    """Tell the lines of gateway and container, oldest first; how many there were."""
    client = account.client("logs")
    lines = []
    for group in (log_name(facts), f"/aws/sagemaker/Endpoints/{facts.endpoint}"):
        try:
            pages = client.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=int(since.timestamp() * 1000)
            )
            lines += [(each["timestamp"], each["message"].rstrip()) for page in pages for each in page["events"]]
        except ClientError as error:
            if not missing(error):
                raise
    for at, line in sorted(lines):
        tell(f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S} {line}")
    return len(lines)


def invoke(facts: Facts, account: Account, question: str) -> str:
    """Ask the endpoint itself, with the caller's own credentials. Raises `UnavailableError`."""
    if facts.mode == "async":
        raise InputError(
            f"{facts.name} is asynchronous: it is asked through S3.",
            f"It reads a request that lies under s3://{facts.bucket}/async-in/ and puts its answer under async/.",
            f"aws sagemaker-runtime invoke-endpoint-async --endpoint-name {facts.endpoint} --input-location s3://…",
        )
    body = json.dumps({"messages": [{"role": "user", "content": question}], "max_tokens": 256})
    client, end = account.client("sagemaker-runtime"), time.monotonic() + 60
    while True:
        try:
            found = client.invoke_endpoint(EndpointName=facts.endpoint, ContentType="application/json", Body=body)
            answer = json.loads(found["Body"].read())
            return str(answer["choices"][0]["message"]["content"])
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ModelNotReadyException" and time.monotonic() < end:
                time.sleep(5)
                continue
            if missing(error) or code == "ValidationError":
                raise UnavailableError(
                    f"{facts.name} is switched off: its endpoint is not there.",
                    f"Idle endpoints are deleted after {facts.idle_minutes} minutes, so that nobody pays for them.",
                    "Plan and apply again: it takes some minutes to come up.",
                ) from error
            raise
