"""boto3's CloudWatch client reads what was asked of models, on either wire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from bedrock_server import Models, make_models
from botocore.config import Config
from botocore.exceptions import ClientError
from live_server import serving

from pumice.config import Home
from pumice.records import Base, Request
from pumice.store.tables import open_database
from pumice.traffic.log import Log

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
DAY = {"Namespace": "AWS/Bedrock", "StartTime": NOON, "EndTime": NOON + timedelta(minutes=10), "Period": 60}


def request(number: int, seconds: float, model: str = "red@1", status: int = 200, **more: Any) -> Request:
    values = {
        "id": f"req-{number}",
        "at": NOON + timedelta(seconds=seconds),
        "key": None,
        "operation": "Converse",
        "asked": model.partition("@")[0] or "nobody",
        "model": model,
        "variant": None,
        "status": status,
        "input_tokens": 10,
        "output_tokens": number,
        "first_token_seconds": 0.25 if status < 400 else None,
        "seconds": float(number),
    }
    return Request(**{**values, **more})


KEPT = (
    request(1, 0),
    request(2, 59.5),
    request(3, 60),
    request(4, 61, status=404),
    request(5, 62, status=429),
    request(6, 63, status=503),
    request(7, 64, model="blue@1"),
    request(8, 65, model="", status=404),
    request(9, 66, operation="CreateModelCustomizationJob"),
)


@pytest.fixture(scope="module")
def models(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Models:
    home = Home(tmp_path_factory.mktemp("watched"))
    made = make_models(home, tiny, tmp_path_factory.mktemp("adapters"))
    log = Log(open_database(home.database), timedelta(days=30))
    for each in KEPT:
        log.add(each)
    log.close()
    return made


@pytest.fixture(scope="module")
def clients(models: Models) -> Iterator[dict[str, Any]]:
    with serving(models.home) as url:
        made = {
            name: boto3.client(
                name,
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id="anything",
                aws_secret_access_key="passes",
                config=Config(retries={"max_attempts": 0}),
            )
            for name in ("cloudwatch", "bedrock-runtime")
        }
        yield made
        for each in made.values():
            each.close()


@pytest.fixture
def watch(clients: dict[str, Any]) -> Any:
    return clients["cloudwatch"]


def of(model: str) -> list[dict[str, str]]:
    return [{"Name": "ModelId", "Value": model}]


def statistics(watch: Any, metric: str, model: str | None = "red@1", **more: Any) -> dict[int, dict[str, Any]]:
    """The datapoints by their minute after noon."""
    wanted: dict[str, Any] = {**DAY, "MetricName": metric, "Statistics": ["Sum"], **more}
    told = watch.get_metric_statistics(**wanted, Dimensions=of(model) if model else [])
    assert told["Label"] == metric
    return {int((each["Timestamp"] - NOON).total_seconds() // 60): each for each in told["Datapoints"]}


@pytest.mark.parametrize(
    ("metric", "unit", "sums"),
    [
        ("Invocations", "Count", {0: 2, 1: 1}),
        ("InvocationLatency", "Milliseconds", {0: 3000, 1: 3000}),
        ("InvocationClientErrors", "Count", {1: 1}),
        ("InvocationThrottles", "Count", {1: 1}),
        ("InvocationServerErrors", "Count", {1: 1}),
        ("InputTokenCount", "Count", {0: 20, 1: 10}),
        ("OutputTokenCount", "Count", {0: 3, 1: 3}),
        ("TimeToFirstToken", "Milliseconds", {0: 500, 1: 250}),
    ],
)
def test_each_metric_by_the_minute(watch: Any, metric: str, unit: str, sums: dict[int, float]) -> None:
    found = statistics(watch, metric)
    assert {minute: each["Sum"] for minute, each in found.items()} == sums
    assert {each["Unit"] for each in found.values()} == {unit}


def test_a_model_is_found_by_name_version_and_arn(watch: Any, models: Models) -> None:
    for name in ("red", "red@1", models.red):
        assert statistics(watch, "Invocations", name)[0]["Sum"] == 2
    assert statistics(watch, "Invocations", "blue")[1]["Sum"] == 1
    assert statistics(watch, "Invocations", "green") == {}
    assert statistics(watch, "Invocations", None)[1]["Sum"] == 2
    assert statistics(watch, "InvocationClientErrors", None)[1]["Sum"] == 2


def test_statistics_and_percentiles(watch: Any) -> None:
    plain = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]
    found = statistics(watch, "InvocationLatency", Statistics=plain, ExtendedStatistics=["p50", "p100"], Period=600)
    assert {name: found[0][name] for name in plain} == {
        "SampleCount": 3,
        "Average": 2000,
        "Sum": 6000,
        "Minimum": 1000,
        "Maximum": 3000,
    }
    assert found[0]["ExtendedStatistics"] == {"p50": 2000, "p100": 3000}


def test_metric_data_in_either_order(watch: Any) -> None:
    metric = {"Namespace": "AWS/Bedrock", "MetricName": "OutputTokenCount", "Dimensions": of("red@1")}
    query = {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}, "Label": "tokens"}
    time = {"StartTime": NOON, "EndTime": NOON + timedelta(minutes=10)}
    (newest,) = watch.get_metric_data(MetricDataQueries=[query], **time)["MetricDataResults"]
    assert (newest["Label"], newest["StatusCode"], newest["Values"]) == ("tokens", "Complete", [3, 2])
    assert newest["Timestamps"] == [NOON + timedelta(minutes=1), NOON]
    pages = watch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[query], ScanBy="TimestampAscending", **time
    )
    assert [each["Values"] for page in pages for each in page["MetricDataResults"]] == [[2, 3]]


def test_metrics_are_listed_by_models_that_answered(watch: Any) -> None:
    pages = watch.get_paginator("list_metrics").paginate(Namespace="AWS/Bedrock", MetricName="Invocations")
    values = [
        each["Dimensions"][0]["Value"] if each["Dimensions"] else None for page in pages for each in page["Metrics"]
    ]
    assert values[:5] == [None, "blue", "blue@1", "red", "red@1"]
    assert watch.list_metrics(Dimensions=[{"Name": "ModelId", "Value": "nobody"}])["Metrics"] == []
    assert len(watch.list_metrics(Dimensions=of("red@1"))["Metrics"]) == 8
    assert watch.list_metrics(Namespace="AWS/EC2")["Metrics"] == []


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"Period": 45}, "InvalidParameterValue", "Period is 45"),
        ({"EndTime": NOON}, "InvalidParameterValue", "StartTime must be before"),
        ({"Period": 1, "EndTime": NOON + timedelta(days=1)}, "InvalidParameterCombination", "1,440"),
        ({"ExtendedStatistics": ["tm99"]}, "InvalidParameterValue", "tm99"),
    ],
)
def test_refusals_have_cloudwatchs_codes(watch: Any, more: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        watch.get_metric_statistics(**{**DAY, "MetricName": "Invocations", "Statistics": ["Sum"], **more})
    assert caught.value.response["Error"]["Code"] == code


def test_what_is_not_served_says_so(watch: Any) -> None:
    with pytest.raises(ClientError, match="DescribeAlarms of cloudwatch is not served"):
        watch.describe_alarms()


def test_an_answer_is_there_at_once(clients: dict[str, Any]) -> None:
    asked = [{"role": "user", "content": [{"text": "Hello"}]}]
    told = clients["bedrock-runtime"].converse(modelId="red", messages=asked, inferenceConfig={"maxTokens": 2})
    now = datetime.now(UTC)
    found = clients["cloudwatch"].get_metric_statistics(
        Namespace="AWS/Bedrock",
        MetricName="InputTokenCount",
        Dimensions=of("red"),
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum"],
    )
    assert sum(each["Sum"] for each in found["Datapoints"]) == told["usage"]["inputTokens"]
