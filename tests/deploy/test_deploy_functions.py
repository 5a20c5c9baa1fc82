"""The gateway's function in Lambda's own runtime loop, against a model that does what it is told; and the idle one."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import Cloud
from lambda_loop import Loop
from listening import Listening

from pumice.deploy.aws import code
from pumice.deploy.aws.api import requests_table
from pumice.deploy.aws.facts import Facts

TABLE = "pumice-fun-requests"


class Model(Listening):
    """A fake SageMaker runtime."""

    def __init__(self) -> None:
        self.status, self.error, self.seconds = 200, "", 0.0
        self.asked: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.listen()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.asked = json.loads(body)
        self.headers = {key.lower(): value for key, value in headers.items()}
        time.sleep(self.seconds)
        said = {
            "choices": [{"message": {"content": "yes"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
            "Message": "role arn:aws:iam::123456789012:role/secret",
        }
        refused = {"x-amzn-errortype": self.error} if self.error else {}
        return self.status, {**refused, "x-Amzn-Invoked-Production-Variant": "B"}, json.dumps(said).encode()


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.close()


@pytest.fixture(scope="module")
def loop(cloud: Cloud, tools: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The zip as it is deployed, unpacked and running."""
    folder = tmp_path_factory.mktemp("function")
    with zipfile.ZipFile(io.BytesIO(code.packed()[1])) as packed:
        packed.extractall(folder)
    facts = Facts("fun", "000000000000", "us-east-1", "real-time", "ml.g5.xlarge", "", ())
    table = requests_table(facts)["Properties"]
    wanted = ("TableName", "BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    cloud.client("dynamodb").create_table(**{key: table[key] for key in wanted})
    told = {"ENDPOINT_NAME": "pumice-fun", "TABLE_NAME": TABLE, "LOG_BODIES": "0"}
    addresses = {**cloud.environment, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": model.url}
    made = Loop(tools / "python", folder, "app.handler", {**addresses, **told})
    yield made
    made.end()
    cloud.client("dynamodb").delete_table(TableName=TABLE)


@pytest.fixture(autouse=True)
def calm(request: pytest.FixtureRequest) -> None:
    """A model that answers."""
    if "model" in request.fixturenames:
        model = request.getfixturevalue("model")
        model.status, model.error, model.seconds = 200, "", 0.0


def ask(loop: Loop, body: Any, path: str = "/v1/chat/completions", **more: Any) -> tuple[int, Any]:
    answer = loop.call({"path": path, "body": body if isinstance(body, str) else json.dumps(body), **more})
    return answer["statusCode"], json.loads(answer["body"])


CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def test_both_shapes_are_answered_and_one_row_is_left(loop: Loop, model: Model, cloud: Cloud) -> None:
    status, answer = ask(loop, CHAT)
    assert (status, answer["choices"][0]["message"]["content"], answer["variant"]) == (200, "yes", "B")
    assert model.asked["max_tokens"] == 256 and model.headers["x-amzn-sagemaker-inference-id"] == answer["request_id"]
    row = cloud.client("dynamodb").get_item(TableName=TABLE, Key={"id": {"S": answer["request_id"]}})["Item"]
    assert row["variant"]["S"] == "B" and row["output_tokens"]["N"] == "1" and "request" not in row
    assert int(row["ttl"]["N"]) > time.time() + 29 * 86400
    assert ask(loop, {"prompt": "hi"})[1]["completion"] == "yes"
    assert model.asked["messages"] == CHAT["messages"]


def test_a_body_that_the_gateway_has_encoded_is_read(loop: Loop, model: Model) -> None:
    encoded = base64.b64encode(json.dumps(CHAT).encode()).decode()
    assert ask(loop, encoded, isBase64Encoded=True)[0] == 200


def test_a_variant_may_be_chosen(loop: Loop, model: Model) -> None:
    ask(loop, {**CHAT, "variant": "B"})
    assert model.headers["x-amzn-sagemaker-target-variant"] == "B" and "variant" not in model.asked


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("no json", 400, "no JSON"),
        ("[1]", 400, "object"),
        ("[" * 100_000, 400, "no JSON"),
        ({}, 400, "messages"),
        ({"prompt": 3}, 400, "messages"),
        ({**CHAT, "max_tokens": 5000}, 400, "max_tokens"),
        ({**CHAT, "max_tokens": True}, 400, "max_tokens"),
        ({**CHAT, "stream": True}, 400, "stream"),
        ({"prompt": "x" * 200_001}, 413, "bytes"),
    ],
)
def test_what_cannot_be_asked_is_said(loop: Loop, model: Model, body: Any, status: int, word: str) -> None:
    got, answer = ask(loop, body)
    assert got == status and word in answer["error"]["message"]


@pytest.mark.parametrize(
    ("sent", "error", "status"),
    [
        (400, "ValidationError", 503),
        (424, "ModelError", 502),
        (429, "ModelNotReadyException", 503),
        (500, "Other", 502),
    ],
)
def test_errors_of_aws_do_not_leak(loop: Loop, model: Model, sent: int, error: str, status: int) -> None:
    model.status, model.error = sent, error
    got, answer = ask(loop, CHAT)
    assert got == status and "arn:" not in json.dumps(answer)


def test_feedback_is_kept_beside_its_request(loop: Loop, model: Model, cloud: Cloud) -> None:
    id_ = ask(loop, CHAT)[1]["request_id"]
    assert ask(loop, {"request_id": id_, "score": 0.5}, "/v1/feedback") == (200, {"request_id": id_, "score": 0.5})
    row = cloud.client("dynamodb").get_item(TableName=TABLE, Key={"id": {"S": id_}})["Item"]
    assert row["score"]["N"] == "0.5"
    assert ask(loop, {"request_id": id_, "score": 2}, "/v1/feedback")[0] == 400
    assert ask(loop, {"request_id": "none", "score": 1}, "/v1/feedback")[0] == 404


def test_the_idle_function_deletes_only_what_nobody_asked(account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_NAME", "pumice-lazy")
    monkeypatch.setenv("IDLE_MINUTES", "60")
    from pumice.deploy.aws.functions import idle

    records = account.double.sagemaker.records["endpoint"]

    def endpoint(age: float) -> None:
        state = {"EndpointName": "pumice-lazy", "EndpointArn": "arn:aws:sagemaker:us-east-1:1:endpoint/pumice-lazy"}
        times = {"CreationTime": time.time() - age, "LastModifiedTime": time.time() - age}
        records["pumice-lazy"] = {**state, **times, "EndpointConfigName": "c", "EndpointStatus": "InService"}

    assert idle.handler({}, None)["did"] == "gone"
    endpoint(60)
    assert idle.handler({}, None)["did"] == "kept"
    endpoint(7200)
    assert idle.handler({}, None)["did"] == "deleted"
    assert "pumice-lazy" not in records


def test_the_idle_function_counts_what_was_asked(account: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_NAME", "pumice-busy")
    monkeypatch.setenv("IDLE_MINUTES", "60")
    from pumice.deploy.aws.functions import idle

    monkeypatch.setattr(idle, "ENDPOINT", "pumice-busy")
    names = {"EndpointName": "pumice-busy", "VariantName": "A"}
    metric = {
        "MetricName": "Invocations",
        "Dimensions": [{"Name": key, "Value": value} for key, value in names.items()],
        "Value": 3.0,
    }
    account.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=[metric])
    assert idle.asked("A", idle.datetime.now(idle.UTC)) == 3
    assert idle.asked("B", idle.datetime.now(idle.UTC)) == 0
