"""CloudWatch's three questions about Bedrock: GetMetricStatistics, GetMetricData, ListMetrics, out of the request log.

Knows the namespace AWS/Bedrock and the dimension ModelId, and no alarms, dashboards or metrics of a caller's own.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import find_version
from pumice.api.aws.services import CLOUDWATCH
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.api.tally import GENERATIONS
from pumice.traffic import measure
from pumice.traffic.measure import Measured

NAMESPACE, DIMENSION = "AWS/Bedrock", "ModelId"
PAGE = 500
"""Metrics a page, as on AWS."""
MOST_STATISTICS, MOST_DATA = 1_440, 100_800
"""Datapoints an answer."""


@dataclass(frozen=True)
class Metric:
    """One number of a request."""

    unit: str
    value: Callable[[Measured], float | None]
    """None for a request that it does not count."""


METRICS: Mapping[str, Metric] = {
    "Invocations": Metric("Count", lambda row: 1.0 if row.status < 400 else None),
    "InvocationLatency": Metric("Milliseconds", lambda row: row.seconds * 1000 if row.status < 400 else None),
    "InvocationClientErrors": Metric(
        "Count", lambda row: 1.0 if row.status // 100 == 4 and row.status != 429 else None
    ),
    "InvocationServerErrors": Metric("Count", lambda row: 1.0 if row.status >= 500 else None),
    "InvocationThrottles": Metric("Count", lambda row: 1.0 if row.status == 429 else None),
    "InputTokenCount": Metric("Count", lambda row: float(row.input_tokens) if row.status < 400 else None),
    "OutputTokenCount": Metric("Count", lambda row: float(row.output_tokens) if row.status < 400 else None),
    "TimeToFirstToken": Metric(
        "Milliseconds",
        lambda row: None if row.first_token_seconds is None or row.status >= 400 else row.first_token_seconds * 1000,
    ),
}
_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "SampleCount": len,
    "Average": lambda values: math.fsum(values) / len(values),
    "Sum": math.fsum,
    "Minimum": min,
    "Maximum": max,
}
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")


@CLOUDWATCH.operation
def get_metric_statistics(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One metric in periods, with each statistic that was asked for."""
    plain, percentiles = request.get("Statistics") or [], request.get("ExtendedStatistics") or []
    if not plain and not percentiles:
        raise _invalid("Statistics or ExtendedStatistics must be there.", "InvalidParameterCombination")
    of = {name: _statistic(name) for name in (*plain, *percentiles)}
    if _points(request, request["Period"]) > MOST_STATISTICS:
        sentence = f"This would be more than {MOST_STATISTICS:,} datapoints: ask for a longer Period or a shorter time."
        raise _invalid(sentence, "InvalidParameterCombination")
    metric = METRICS.get(request["MetricName"])
    wanted = metric is None or request.get("Unit") in (None, metric.unit)
    found = _series(call.platform, request, request, request["Period"]) if wanted else {}
    points = [
        {
            "Timestamp": at,
            "Unit": metric.unit if metric else "None",
            **{name: of[name](values) for name in plain},
            **({"ExtendedStatistics": {name: of[name](values) for name in percentiles}} if percentiles else {}),
        }
        for at, values in found.items()
    ]
    return {"Label": request["MetricName"], "Datapoints": points}


@CLOUDWATCH.operation
def get_metric_data(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Several metrics, one statistic each; the newest first unless told otherwise."""
    queries = request["MetricDataQueries"]
    for each in queries:
        if "MetricStat" not in each:
            sentence = (
                f"MetricDataQueries: {each['Id']} is an expression, which is not computed here: send a MetricStat."
            )
            raise _invalid(sentence)
    points = sum(_points(request, each["MetricStat"]["Period"]) for each in queries)
    if points > request.get("MaxDatapoints", MOST_DATA):
        sentence = f"This would be up to {points:,} datapoints, more than MaxDatapoints or {MOST_DATA:,} allow"
        raise _invalid(f"{sentence}: ask for longer Periods, or a shorter time.")
    return {
        "MetricDataResults": [_result(call.platform, request, each) for each in queries if each.get("ReturnData", True)]
    }


@CLOUDWATCH.operation
def list_metrics(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """What can be asked: each metric over all models, and by each model that has answered."""
    since = datetime.now(UTC) - timedelta(hours=3) if "RecentlyActive" in request else None
    call.platform.log.flush()
    models = measure.names(call.platform.database, GENERATIONS, since)
    dimensions = [[], *([{"Name": DIMENSION, "Value": model}] for model in models)] if models else []
    filters = request.get("Dimensions") or []
    listed = [
        {"Namespace": NAMESPACE, "MetricName": name, "Dimensions": each}
        for name in METRICS
        for each in dimensions
        if request.get("Namespace", NAMESPACE) == NAMESPACE
        and request.get("MetricName", name) == name
        and all(any(_fits(dimension, asked) for dimension in each) for asked in filters)
    ]
    token = request.get("NextToken", "0")
    if not token.isdecimal():
        raise _invalid(f"NextToken {token[:40]!r} was not given by ListMetrics.")
    end = int(token) + PAGE
    following = {"NextToken": str(end)} if end < len(listed) else {}
    return {"Metrics": listed[int(token) : end], **following}


def _result(platform: Platform, request: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, Any]:
    asked = query["MetricStat"]
    statistic = _statistic(asked["Stat"])
    found = _series(platform, asked["Metric"], request, asked["Period"])
    if request.get("ScanBy", "TimestampDescending") == "TimestampDescending":
        found = dict(reversed(found.items()))
    return {
        "Id": query["Id"],
        "Label": query.get("Label", asked["Metric"].get("MetricName", query["Id"])),
        "Timestamps": list(found),
        "Values": [statistic(values) for values in found.values()],
        "StatusCode": "Complete",
    }


def _series(
    platform: Platform, asked: Mapping[str, Any], time: Mapping[str, Any], period: int
) -> dict[datetime, list[float]]:
    """The values of each period that has any, the oldest first; none for a metric that is not Bedrock's."""
    metric = METRICS.get(asked.get("MetricName", ""))
    dimensions = {each["Name"]: each["Value"] for each in asked.get("Dimensions") or []}
    if asked.get("Namespace") != NAMESPACE or metric is None or dimensions.keys() - {DIMENSION}:
        return {}
    models = _names(platform, dimensions[DIMENSION]) if dimensions else None
    # What has just ended is there, too.
    platform.log.flush()
    found: dict[datetime, list[float]] = defaultdict(list)
    for row in measure.read(platform.database, _floor(time["StartTime"], 60), time["EndTime"], GENERATIONS, models):
        if (value := metric.value(row)) is not None:
            found[_floor(row.at, period)].append(value)
    return dict(sorted(found.items()))


def _names(platform: Platform, id: str) -> set[str]:
    """What a model is called in the log: as it was asked for, and as what answered."""
    version = find_version(id, platform.registry)
    return {id, version.id} if version else {id}


def _points(time: Mapping[str, Any], period: int) -> int:
    """How many datapoints there may be. Raises `AwsError` for a time or a period that is none."""
    if time["StartTime"] >= time["EndTime"]:
        raise _invalid("StartTime must be before EndTime.")
    if period not in (1, 5, 10, 20, 30) and period % 60:
        raise _invalid(f"Period is {period}; it must be 1, 5, 10, 20, 30 or a multiple of 60 seconds.")
    length: timedelta = time["EndTime"] - time["StartTime"]
    return math.ceil(length.total_seconds() / period)


def _floor(at: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(math.floor(at.timestamp()) // seconds * seconds, UTC)


def _statistic(name: str) -> Callable[[Sequence[float]], float]:
    if name in _STATISTICS:
        return _STATISTICS[name]
    if found := _PERCENTILE.fullmatch(name):
        return lambda values: _percentile(values, float(found[1]))
    raise _invalid(f"The statistic {name!r} is not computed here; there are {', '.join(_STATISTICS)} and p0 to p100.")


def _percentile(values: Sequence[float], percent: float) -> float:
    """Between the two values that lie nearest."""
    ordered, place = sorted(values), (len(values) - 1) * percent / 100
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


def _fits(dimension: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    return dimension["Name"] == asked["Name"] and asked.get("Value", dimension["Value"]) == dimension["Value"]


def _invalid(sentence: str, code: str = "InvalidParameterValue") -> AwsError:
    # CloudWatch spoke XML once; clients read the name that it had there out of this header.
    return AwsError(f"{code}Exception", sentence, 400, {"x-amzn-query-error": f"{code};Sender"})
