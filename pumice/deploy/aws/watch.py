"""A deployment as it is now: its parts and its log. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from pumice.deploy.aws.account import Account, missing
from pumice.deploy.aws.api import log_name
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.stacks import Stack
from pumice.errors import NotFoundError


@dataclass(frozen=True)
class Status:
    """What runs, what it costs by the hour now, and what it was asked."""

    endpoint: str
    """`InService`, `Creating` … as SageMaker says it, or `switched off`."""
    variants: dict[str, float]
    """Share of the requests, by variant."""
    stacks: dict[str, str]
    url: str
    """"" for an asynchronous one, as is the page's."""
    page: str
    requests: int
    """In the last hour, by the log, which an asynchronous one has not."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


def status(facts: Facts, account: Account) -> Status:
    """Ask every part. Raises `NotFoundError` when none is there."""
    cloudformation = account.client("cloudformation")
    described = {name: Stack(cloudformation, name).describe() for name in facts.stacks}
    if not any(described.values()):
        raise NotFoundError(f"Nothing of {facts.name} is in {facts.region}.", fix="Apply its plan again, or make one.")
    stacks = {name: found["StackStatus"] if found else "not there" for name, found in described.items()}
    state, weights = endpoint(facts, account)
    if facts.mode == "async":
        return Status(state, weights, stacks, "", "", 0)
    outputs = Stack(cloudformation, facts.api_stack).outputs()
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
