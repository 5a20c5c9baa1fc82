"""The gateway's function in its runtime loop, against a model that does what it is told; and the idle one."""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from cloud import Cloud
from lambda_loop import Gateway, Loop, unpack
from listening import Listening

from pumice.api.aws.frames import event_frame, exception_frame
from pumice.deploy.aws import code
from pumice.deploy.aws.api import function, requests_table
from pumice.deploy.aws.facts import Facts

TABLE = "pumice-fun-requests"
CUT = b"cut"
"""A part that never comes: the connection ends instead."""


class Model(Listening):
    """A fake SageMaker runtime."""

    def __init__(self) -> None:
        self.status, self.error, self.seconds = 200, "", 0.0
        self.asked: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        """Of a streamed answer."""
        self.going_on = threading.Event()
        """Not before it goes out more than the first part."""
        self.listen()

    def stream(self) -> Iterator[bytes]:
        for at, part in enumerate(self.parts):
            if at:
                assert self.going_on.wait(20), "nobody has read the first part"
            if part == CUT:
                raise ConnectionAbortedError
            yield part

    def answer(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        self.asked = json.loads(body)
        self.headers = {key.lower(): value for key, value in headers.items()}
        time.sleep(self.seconds)
        said = {
            "choices": [{"message": {"content": "yes"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
            "Message": "role arn:aws:iam::123456789012:role/secret",
        }
        refused = {"x-amzn-errortype": self.error} if self.error else {}
        told = {**refused, "x-Amzn-Invoked-Production-Variant": "B"}
        if path.endswith("response-stream") and not self.error:
            return self.status, told, self.stream()
        return self.status, told, json.dumps(said).encode()


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip as it is deployed, unpacked."""
    made = tmp_path_factory.mktemp("function")
    with zipfile.ZipFile(io.BytesIO(code.packed()[1])) as packed:
        unpack(packed, made)
    return made


@pytest.fixture(scope="module")
def told(cloud: Cloud, model: Model) -> dict[str, str]:
    """The function's environment."""
    told = {"ENDPOINT_NAME": "pumice-fun", "TABLE_NAME": TABLE, "LOG_BODIES": "0"}
    return {**cloud.environment, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": model.url, **told}


@pytest.fixture(scope="module")
def loop(cloud: Cloud, tools: Path, folder: Path, told: dict[str, str]) -> Iterator[Loop]:
    """The function as its template starts it."""
    facts = Facts("fun", "000000000000", "us-east-1", "real-time", "ml.g5.xlarge", "", ())
    table = requests_table(facts)["Properties"]
    wanted = ("TableName", "BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    cloud.client("dynamodb").create_table(**{key: table[key] for key in wanted})
    start = function(facts)["Properties"]
    wrapper = start["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"]
    made = Loop(tools / "python", folder, start["Handler"], told, wrapper)
    yield made
    made.end()
    cloud.client("dynamodb").delete_table(TableName=TABLE)


@pytest.fixture(autouse=True)
def calm(request: pytest.FixtureRequest) -> None:
    """A model that answers."""
    if "model" in request.fixturenames:
        model = request.getfixturevalue("model")
        model.status, model.error, model.seconds = 200, "", 0.0
        model.going_on.set()


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
        ({**CHAT, "stream": True, "stream_options": 3}, 400, "stream_options"),
        ({"stream": True}, 400, "messages"),
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
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_aws_do_not_leak(loop: Loop, model: Model, sent: int, error: str, status: int, stream: bool) -> None:
    model.status, model.error = sent, error
    got, answer = ask(loop, {**CHAT, "stream": stream})
    assert got == status and "arn:" not in json.dumps(answer)


def test_lambdas_own_loop_runs_the_same_handler(
    loop: Loop, tools: Path, folder: Path, told: dict[str, str], model: Model
) -> None:
    own = Loop(tools / "python", folder, "app.handler", told)
    try:
        assert ask(own, CHAT)[1]["choices"] == ask(loop, CHAT)[1]["choices"]
    finally:
        own.end()


SECRET = "arn:aws:iam::123456789012:role/secret"
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def chunks(*words: str) -> bytes:
    """OpenAI's events, as a container writes them."""
    made: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in [*made, USAGE]) + b"data: [DONE]\n\n"


def frames(*parts: bytes) -> list[bytes]:
    """As SageMaker sends them."""
    return [event_frame("PayloadPart", part) for part in parts]


@pytest.fixture
def client(loop: Loop) -> Iterator[openai.OpenAI]:
    """OpenAI's own, over a gateway that streams."""
    gateway = Gateway(loop)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="-", max_retries=0) as made:
        yield made
    gateway.close()


def start(client: openai.OpenAI, **more: Any) -> Any:
    messages: Any = CHAT["messages"]
    return client.chat.completions.create(model="deployed", messages=messages, stream=True, **more)


def row_of(cloud: Cloud, id_: str) -> dict[str, Any]:
    """What the log says of a request, once it is over."""
    for _ in range(200):
        if found := cloud.client("dynamodb").get_item(TableName=TABLE, Key={"id": {"S": id_}}).get("Item"):
            return {key: next(iter(value.values())) for key, value in found.items()}
        time.sleep(0.05)
    raise AssertionError(f"no row {id_}")


def test_an_answer_comes_as_it_is_made_and_leaves_one_row(client: openai.OpenAI, model: Model, cloud: Cloud) -> None:
    whole = chunks("yes", " indeed")
    # Cut in the middle of an event, as SageMaker may.
    at = whole.index(b" indeed") + 3
    model.parts = frames(whole[:at], whole[at:])
    model.going_on.clear()
    answer = start(client)
    assert next(answer).choices[0].delta.content == "yes"
    assert not model.going_on.is_set()
    model.going_on.set()
    (rest,) = list(answer)
    assert rest.choices[0].delta.content == " indeed"
    assert answer.response.headers["x-variant"] == "B" and model.asked["stream_options"] == {"include_usage": True}
    assert "model" not in model.asked
    row = row_of(cloud, answer.response.headers["x-request-id"])
    assert (row["status"], row["variant"], row["input_tokens"], row["output_tokens"]) == ("200", "B", "3", "2")
    assert 0 <= int(row["first_milliseconds"]) <= int(row["milliseconds"])


def test_who_asks_for_usage_gets_it(client: openai.OpenAI, model: Model) -> None:
    model.parts = frames(chunks("yes"))
    assert list(start(client, stream_options={"include_usage": True}))[-1].usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([exception_frame("ModelStreamError", SECRET)], "in the middle"),
        ([exception_frame("InternalStreamFailure", SECRET)], "broke off"),
        (frames(b'data: {"error": {"message": "' + SECRET.encode() + b'"}}\n\n'), "failed on this request"),
        (frames(b"data: no json\n\n"), "failed on this request"),
        (frames(b"data: 3\n\n"), "its log says why"),
        ([], "before the end"),
        ([CUT], "broke off"),
        ([b"no frame at all, but longer than a prelude"], "its log says why"),
    ],
)
def test_what_fails_in_the_middle_is_said_at_the_end(
    client: openai.OpenAI, model: Model, cloud: Cloud, parts: list[bytes], sentence: str
) -> None:
    model.parts = [*frames(chunks("yes").split(b"\n\n")[0] + b"\n\n"), *parts]
    answer = start(client)
    assert next(answer).choices[0].delta.content == "yes"
    with pytest.raises(openai.APIError, match=sentence) as caught:
        list(answer)
    assert "arn:" not in str(caught.value)
    assert int(row_of(cloud, answer.response.headers["x-request-id"])["status"]) >= 500


def test_what_fails_before_the_first_word_has_a_status(client: openai.OpenAI, model: Model) -> None:
    model.parts = [exception_frame("ModelStreamError", SECRET)]
    with pytest.raises(openai.InternalServerError, match="in the middle"):
        start(client)
    model.parts = frames(b'{"choices": [{"message": {"content": "a container that does not stream"}}]}')
    with pytest.raises(openai.InternalServerError, match="before the end"):
        start(client)


BROKEN = """
def handler(event, context):
    if event["fail"] == "at once":
        raise KeyError("no answer")
    return {"statusCode": 200, "headers": {}, "body": pieces()}

def pieces():
    yield b"a"
    raise KeyError("no more")
"""


def test_a_handler_that_fails_is_told_to_lambda(tools: Path, folder: Path, tmp_path: Path) -> None:
    for name in ("runtime.py", "runtime.sh"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)
    loop = Loop(tools / "python", tmp_path, "broken.handler", {}, "runtime.sh")
    answer = loop.answer({"fail": "later"})
    assert b"".join(answer.head()[1]) == b"a"
    assert answer.trailers["lambda-runtime-function-error-type"] == "KeyError"
    described = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
    assert described == {"errorType": "KeyError", "errorMessage": "'no more'"}
    answer = loop.answer({"fail": "at once"})
    assert answer.kind == "error" and json.loads(b"".join(answer))["errorType"] == "KeyError"
    loop.end()
    loop = Loop(tools / "python", tmp_path, "nowhere.handler", {}, "runtime.sh")
    assert json.loads(b"".join(loop.answers.get(timeout=30)))["errorType"] == "ModuleNotFoundError"
    assert loop.process.wait(30) == 1
    loop.end()


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

    monkeypatch.setattr(idle, "ENDPOINT", "pumice-lazy")
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
    endpoint = {"EndpointName": "pumice-busy"}
    assert idle.asked({**endpoint, "VariantName": "A"}, idle.datetime.now(idle.UTC)) == 3
    assert idle.asked({**endpoint, "VariantName": "B"}, idle.datetime.now(idle.UTC)) == 0
