"""Invocation logging through boto3: what was asked and answered lies in S3, in Bedrock's form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bedrock_server import Aws, Models, aws, make_models
from botocore.exceptions import ClientError

from pumice.api.aws.bedrock.logging import LARGE, InvocationLog
from pumice.api.exchange import Exchange
from pumice.api.platform import open_platform
from pumice.config import Home
from pumice.records import Base
from pumice.store.tables import open_database


@pytest.fixture(scope="module")
def models(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(Home(tmp_path_factory.mktemp("logging")), tiny, tmp_path_factory.mktemp("adapters"))


def configure(server: Aws, **more: Any) -> None:
    target = {"bucketName": "answers", "keyPrefix": "all"}
    server.bedrock.put_model_invocation_logging_configuration(loggingConfig={"s3Config": target, **more})


def read(home: Home, prefix: str = "all") -> list[dict[str, Any]]:
    """Every record that was delivered."""
    files = sorted((home.s3 / "answers" / prefix).rglob("*.json.gz"))
    records = [path for path in files if path.parent.name != "data"]
    return [json.loads(line) for path in records for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def delivered(models: Models) -> Iterator[tuple[Models, str, list[dict[str, Any]]]]:
    """Two invocations, one of which fails, and what was delivered of them when the server had ended."""
    with aws(models.home) as server:
        server.s3.create_bucket(Bucket="answers")
        server.text(models.red)
        configure(server, textDataDeliveryEnabled=True)
        asked = [{"role": "user", "content": [{"text": "Say it."}]}]
        answer = server.runtime.converse(
            modelId=models.red,
            messages=asked,
            inferenceConfig={"maxTokens": 4, "temperature": 0},
            requestMetadata={"team": "rocks"},
        )
        with pytest.raises(ClientError):
            server.runtime.converse(modelId="no.such-model", messages=asked)
        server.bedrock.delete_model_invocation_logging_configuration()
        assert "loggingConfig" not in server.bedrock.get_model_invocation_logging_configuration()
        server.text(models.red)
    yield models, answer["output"]["message"]["content"][0]["text"], read(models.home)


def test_a_record_is_in_bedrocks_form(delivered: tuple[Models, str, list[dict[str, Any]]]) -> None:
    models, said, records = delivered
    assert len(records) == 2
    record = next(each for each in records if each["modelId"] == models.red)
    assert (record["schemaType"], record["schemaVersion"]) == ("ModelInvocationLog", "1.0")
    assert (record["operation"], record["region"], record["accountId"]) == ("Converse", "us-east-1", "000000000000")
    assert record["input"]["inputBodyJson"]["messages"][0]["content"] == [{"text": "Say it."}]
    assert record["output"]["outputBodyJson"]["output"]["message"]["content"] == [{"text": said}]
    assert record["output"]["outputTokenCount"] == 4
    assert record["input"]["inputTokenCount"] > 0
    assert record["requestMetadata"] == {"team": "rocks"}
    assert record["identity"]["arn"].startswith("arn:aws:iam::000000000000:user/")


def test_an_invocation_that_failed_is_delivered_without_an_answer(
    delivered: tuple[Models, str, list[dict[str, Any]]],
) -> None:
    record = next(each for each in delivered[2] if each["modelId"] == "no.such-model")
    assert "outputBodyJson" not in record["output"]
    assert record["input"]["inputBodyJson"]["messages"]


def test_records_lie_in_the_hour_of_their_request(delivered: tuple[Models, str, list[dict[str, Any]]]) -> None:
    folder = delivered[0].home.s3 / "answers/all/AWSLogs/000000000000/BedrockModelInvocationLogs/us-east-1"
    found = {path.relative_to(folder).parts[0] for path in folder.rglob("*.json.gz")}
    assert found <= {f"{datetime.now(UTC):%Y}"}
    assert all(len(path.relative_to(folder).parts) == 5 for path in folder.rglob("*.json.gz"))


def test_what_cannot_be_delivered_is_refused(models: Models) -> None:
    with aws(models.home) as server:
        with pytest.raises(ClientError, match="no bucket"):
            server.bedrock.put_model_invocation_logging_configuration(
                loggingConfig={"s3Config": {"bucketName": "not-there"}}
            )
        watch = {"logGroupName": "group", "roleArn": "arn:aws:iam::000000000000:role/x"}
        with pytest.raises(ClientError, match="cloudWatchConfig"):
            server.bedrock.put_model_invocation_logging_configuration(loggingConfig={"cloudWatchConfig": watch})
        assert "loggingConfig" not in server.bedrock.get_model_invocation_logging_configuration()


async def test_large_bodies_lie_beside_their_record_and_bodies_that_nobody_wants_nowhere(home: Home) -> None:
    (home.s3 / "answers").mkdir(parents=True)
    platform = open_platform(home, open_database(home.database))
    log = InvocationLog(platform)
    for prefix, bodies in (("all", True), ("none", False)):
        config = {"s3Config": {"bucketName": "answers", "keyPrefix": prefix}, "textDataDeliveryEnabled": bodies}
        platform.documents.put("bedrock-invocation-logging", "configuration", config)
        if bodies:
            await log.start()
        log.read()
        large = {"text": "x" * LARGE}
        log.answered(Exchange("req-1", operation="Converse", asked="m", request=large, response={"a": 1}), 200)
    log.flush()
    (whole,) = read(home, "all")
    uri = whole["input"]["inputBodyS3Path"]
    assert "inputBodyJson" not in whole["input"]
    assert whole["output"]["outputBodyJson"] == {"a": 1}
    beside = home.s3 / uri.removeprefix("s3://")
    assert json.loads(gzip.decompress(beside.read_bytes())) == large
    (bare,) = read(home, "none")
    assert not {"inputBodyJson", "inputBodyS3Path"} & bare["input"].keys()
    assert "outputBodyJson" not in bare["output"]
    await log.stop()
    assert log.dropped == 0


async def test_nothing_taken_is_lost_at_the_end(home: Home) -> None:
    (home.s3 / "answers").mkdir(parents=True)
    platform = open_platform(home, open_database(home.database))
    platform.documents.put("bedrock-invocation-logging", "configuration", {"s3Config": {"bucketName": "answers"}})
    log = InvocationLog(platform)
    await log.start()
    for number in range(500):
        log.answered(Exchange(f"req-{number}", operation="Converse", asked="m"), 200)
    await log.stop()
    assert {record["requestId"] for record in read(home, "")} == {f"req-{number}" for number in range(500)}
