"""Batch inference through boto3: a file of invocations becomes a file of answers, over restarts and stops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from bedrock_server import Aws, Models, aws, make_models, wait_for
from botocore.exceptions import ClientError

from pumice.api.identity import Identity, NewKey
from pumice.config import Home
from pumice.records import Base, Role
from pumice.store.documents import Documents
from pumice.store.tables import open_database
from pumice.traffic.log import Log

ROLE = "arn:aws:iam::000000000000:role/batch"
GOOD = {"prompt": "Say it.", "max_gen_len": 4, "temperature": 0}
ENDED = ("Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired")


@pytest.fixture
def models(tiny: Base, home: Home, tmp_path: Path) -> Models:
    return make_models(home, tiny, tmp_path)


@pytest.fixture
def server(models: Models) -> Iterator[Aws]:
    with aws(models.home) as clients:
        yield clients


def submit(server: Aws, model: str, lines: list[str], name: str = "job") -> str:
    if not server.s3.list_buckets()["Buckets"]:
        server.s3.create_bucket(Bucket="batches")
    server.s3.put_object(Bucket="batches", Key="in/asked.jsonl", Body="\n".join(lines).encode())
    made = server.bedrock.create_model_invocation_job(
        jobName=name,
        roleArn=ROLE,
        modelId=model,
        inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://batches/in/asked.jsonl"}},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://batches/out/"}},
    )
    return str(made["jobArn"])


def line(id: str, body: dict[str, Any] = GOOD) -> str:
    return json.dumps({"recordId": id, "modelInput": body})


def get(server: Aws, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = server.bedrock.get_model_invocation_job(jobIdentifier=arn)
    return found


def ended(server: Aws, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = wait_for(lambda: get(server, arn), lambda found: found["status"] in ENDED)
    return found


def output(server: Aws, arn: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The answers and the manifest."""
    folder = f"out/{arn.rpartition('/')[2]}"
    answers = server.s3.get_object(Bucket="batches", Key=f"{folder}/asked.jsonl.out")["Body"].read()
    manifest = server.s3.get_object(Bucket="batches", Key=f"{folder}/manifest.json.out")["Body"].read()
    return [json.loads(each) for each in answers.splitlines()], json.loads(manifest)


def test_every_record_has_its_answer_or_its_error(server: Aws, models: Models) -> None:
    body = json.dumps(GOOD)
    alone = json.loads(server.runtime.invoke_model(modelId=models.red, body=body)["body"].read())
    arn = submit(server, models.red, [line("a"), line("b", {"prompt": "x", "max_gen_len": "many"}), body_only(GOOD)])
    found = ended(server, arn)
    assert found["status"] == "PartiallyCompleted"
    assert [found[f"{kind}RecordCount"] for kind in ("total", "processed", "success", "error")] == [3, 3, 2, 1]
    answers, manifest = output(server, arn)
    assert [each["recordId"] for each in answers] == ["a", "b", "CALL0000003"]
    assert answers[0] == {"recordId": "a", "modelInput": GOOD, "modelOutput": alone}
    assert answers[1]["error"]["errorCode"] == 400
    assert "max_gen_len" in answers[1]["error"]["errorMessage"]
    assert manifest["successRecordCount"] == 2
    assert manifest["outputTokenCount"] == 8
    assert [each["jobArn"] for each in jobs(server)] == [arn]


def body_only(body: dict[str, Any]) -> str:
    return json.dumps({"modelInput": body})


def jobs(server: Aws, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.bedrock.list_model_invocation_jobs(**more)["invocationJobSummaries"]
    return found


def test_a_file_that_breaks_a_rule_fails_the_job_and_says_where(server: Aws, models: Models) -> None:
    for lines, said in (
        ([line("a"), "{broken"], "Line 2"),
        ([line("a"), line("a")], "'a' is there twice"),
        ([json.dumps({"recordId": "a"})], "modelInput"),
    ):
        found = ended(server, submit(server, models.red, lines))
        assert found["status"] == "Failed"
        assert said in found["message"]


def test_what_does_not_exist_is_refused_at_once(server: Aws, models: Models) -> None:
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        submit(server, "no.such-model", [line("a")])
    with pytest.raises(ClientError, match=r"asked\.jsonx") as refused:
        server.bedrock.create_model_invocation_job(
            jobName="nothing",
            roleArn=ROLE,
            modelId=models.red,
            inputDataConfig={"s3InputDataConfig": {"s3Uri": "s3://batches/in/asked.jsonx"}},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://batches/out/"}},
        )
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_a_stopped_job_writes_what_it_has(server: Aws, models: Models) -> None:
    lines = [line(f"r{number}") for number in range(400)]
    arn = submit(server, models.red, lines)
    wait_for(lambda: get(server, arn), lambda found: found["processedRecordCount"] >= 2)
    server.bedrock.stop_model_invocation_job(jobIdentifier=arn)
    found = ended(server, arn)
    assert found["status"] == "Stopped"
    answers, manifest = output(server, arn)
    assert 2 <= len(answers) == manifest["processedRecordCount"] < 400
    with pytest.raises(ClientError, match="ConflictException"):
        server.bedrock.stop_model_invocation_job(jobIdentifier=arn)


def test_a_restart_goes_on_with_what_has_no_answer(models: Models) -> None:
    lines = [line(f"r{number}") for number in range(60)]
    with aws(models.home) as first:
        arn = submit(first, models.red, lines)
        wait_for(lambda: get(first, arn), lambda found: found["processedRecordCount"] >= 3)
    file = models.home.files / f"batch-{arn.rpartition('/')[2]}" / "results.jsonl"
    kept = file.read_bytes()
    assert 3 <= kept.count(b"\n") < 60
    # As a crash in the middle of a write would leave it.
    file.write_bytes(kept + b'{"id": "r59", "ok"')
    with aws(models.home) as second:
        assert ended(second, arn)["status"] == "Completed"
        answers, _ = output(second, arn)
    assert file.read_bytes().startswith(kept)
    assert [each["recordId"] for each in answers] == [f"r{number}" for number in range(60)]
    assert file.read_bytes().count(b"\n") == 60


def test_what_is_not_answered_in_time_expires(models: Models) -> None:
    with aws(models.home) as first:
        arn = submit(first, models.red, [line(f"r{number}") for number in range(400)])
        wait_for(lambda: get(first, arn), lambda found: found["processedRecordCount"] >= 2)
    passed = datetime.now(UTC) - timedelta(hours=1)
    Documents(open_database(models.home.database)).change("batch", arn.rpartition("/")[2], expires=passed.isoformat())
    with aws(models.home) as second:
        found = ended(second, arn)
        assert found["status"] == "Expired"
        assert found["endTime"] > passed
        answers, manifest = output(second, arn)
    assert 2 <= len(answers) == manifest["processedRecordCount"] < 400


def test_a_job_is_charged_to_the_key_that_made_it(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(models.home.database)
    made = Identity(database, models.home).create("payer", Role.ADMIN, tokens_per_day=1)
    monkeypatch.setattr(boto3, "client", partial(_signing, boto3.client, made))
    with aws(models.home) as server:
        arn = submit(server, models.red, [line(f"r{number}") for number in range(6)])
        assert ended(server, arn)["status"] == "PartiallyCompleted"
        answers, _ = output(server, arn)
    refused = [each["error"] for each in answers if "error" in each]
    assert 4 <= len(refused) <= 5
    assert all(each["errorCode"] == 429 and "tokens of this day" in each["errorMessage"] for each in refused)
    log = Log(database, timedelta(days=1))
    kept = [each for each in log.find(100) if each.operation == "InvokeModel"]
    log.close()
    assert [each.status for each in kept] == [200] * (6 - len(refused))
    assert {(each.key, each.model) for each in kept} == {(made.key.id, "red@1")}


def _signing(client: Callable[..., Any], made: NewKey, service: str, **options: Any) -> Any:
    """A client that signs with the key, in place of any other."""
    signed = {"aws_access_key_id": made.key.access_key, "aws_secret_access_key": made.signing_secret}
    return client(service, **{**options, **signed})
