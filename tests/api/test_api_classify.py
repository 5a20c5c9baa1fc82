"""`/v1/classify`, and every other door at which a classifier is refused with one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import torch
from botocore.config import Config
from botocore.exceptions import ClientError
from live_server import register, serving
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from pumice.api.aws.bedrock.customization import metrics
from pumice.api.training import Story
from pumice.bases import resolve
from pumice.bases.classifiers import find_labels
from pumice.cli import app
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.records import Base, Event, Example
from pumice.registry.export import export
from pumice.registry.models import Registry
from pumice.registry.start import as_base, base_of, starting_point
from pumice.store.tables import open_database

TEXTS = ["I was charged twice.", "Where is my parcel, and why has nobody called me about it?", "The screen is black."]
TURNS = [{"role": "user", "content": "My parcel is late."}, {"role": "assistant", "content": "I am sorry for that."}]
SENTENCE = "is a classifier: it names classes or gives scores, and writes no text."


@pytest.fixture(scope="module")
def home(tiny: Base, classifiers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With `tickets`, which names classes, and `helpful`, which scores answers."""
    home = Home(tmp_path_factory.mktemp("home"))
    base = resolve.resolve(str(tiny.folder), home)
    for name, method in (("tickets", "head"), ("helpful", "reward")):
        assert register(home, base, name, classifiers[method], method) == f"{name}@1"
    return home


@pytest.fixture(scope="module")
def registry(home: Home) -> Registry:
    return Registry(open_database(home.database), home)


@pytest.fixture(scope="module")
def client(home: Home) -> Iterator[httpx.Client]:
    with serving(home, bodies=True) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


def logits(folder: Path, ids: list[int]) -> torch.Tensor:
    """As plain transformers gives them."""
    with torch.no_grad():
        found: torch.Tensor = AutoModelForSequenceClassification.from_pretrained(folder)(torch.tensor([ids])).logits[0]
    return found


def test_classes_of_texts(client: httpx.Client, registry: Registry) -> None:
    answer = client.post("/v1/classify", json={"model": "tickets", "input": TEXTS}).raise_for_status().json()
    folder = registry.find("tickets").folder
    renderer = Renderer(folder)
    assert (answer["object"], answer["model"], len(answer["data"])) == ("list", "tickets@1", 3)
    for text, each in zip(TEXTS, answer["data"], strict=True):
        expected = logits(folder, renderer.encode(text)).softmax(-1)
        assert each["probs"] == pytest.approx(expected.tolist(), abs=1e-5)
        assert each["label"] == ("billing", "delivery", "technical")[int(expected.argmax())]
        assert each["num_classes"] == 3
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]
    tokens = sum(len(renderer.encode(text)) for text in TEXTS)
    assert answer["usage"] == {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    # One text, and its ids, are the same question.
    for input in (TEXTS[1], renderer.encode(TEXTS[1])):
        alone = client.post("/openai/v1/classify", json={"model": "tickets@1", "input": input}).json()["data"]
        assert alone == [
            {**answer["data"][1], "index": 0, "probs": pytest.approx(answer["data"][1]["probs"], abs=1e-5)}
        ]


def test_the_score_of_an_answer(client: httpx.Client, registry: Registry) -> None:
    answer = client.post("/v1/classify", json={"model": "helpful", "messages": TURNS}).raise_for_status().json()
    folder = registry.find("helpful").folder
    (found,) = answer["data"]
    ids = Renderer(folder).train(Example(1, tuple(TURNS), wanted=True)).ids  # type: ignore[arg-type]
    assert found["probs"] == pytest.approx(logits(folder, list(ids)).tolist(), abs=1e-5)
    assert (found["label"], found["num_classes"], answer["usage"]["prompt_tokens"]) == (None, 1, len(ids))


def test_it_is_logged_and_counted(client: httpx.Client) -> None:
    client.post("/v1/classify", json={"model": "tickets", "input": TEXTS[0]}).raise_for_status()
    assert 'gen_ai_operation_name="classify"' in client.get("/metrics").text
    logged = client.get("/api/requests").json()
    assert any(each["operation"] == "classify" and each["model"] == "tickets@1" for each in logged["data"])


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({"model": "tickets", "messages": TURNS}, "names the classes of texts. Send 'input'", "messages"),
        ({"model": "helpful", "input": "x"}, "scores the last answer of a conversation. Send 'messages'", "input"),
        ({"model": "tickets"}, "send 'input' to a model that names classes", "input"),
        ({"model": "helpful", "messages": [*TURNS, TURNS[0]]}, "must be the assistant's answer", "messages"),
        ({"model": "tickets", "input": [[1, 999_999]]}, "token id 999999 is outside", "input"),
        ({"model": "tickets", "input": "word " * 600}, "Text 1 of 1 has", None),
        ({"model": "tickets", "input": ""}, "Text 1 of 1 has 0 tokens", None),
        ({"model": "tiny", "input": "x"}, "tiny writes text; it neither names classes nor scores answers.", "model"),
        ({"model": "tickets", "input": "x", "truncate_prompt_tokens": 5}, "Unrecognized", "truncate_prompt_tokens"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_mistakes_are_named(client: httpx.Client, home: Home, body: Any, message: str, param: str | None) -> None:
    if body["model"] == "tiny":
        body = {**body, "model": Registry(open_database(home.database), home).find("tickets").base}
        message = message.replace("tiny", body["model"], 1)
    answer = client.post("/v1/classify", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": TURNS[:1]}),
        ("completions", {"prompt": "Once"}),
        ("responses", {"input": "Once", "store": False}),
        ("embeddings", {"input": "Once"}),
    ],
)
def test_no_route_that_writes_or_embeds_takes_one(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    for model in ("tickets", "helpful"):
        answer = client.post(f"/v1/{path}", json={"model": model, **body})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
        assert f"{model}@1 {SENTENCE}" in answer.json()["error"]["message"]


def aws(client: httpx.Client, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=str(client.base_url).rstrip("/"),
        region_name="us-east-1",
        aws_access_key_id="anything",
        aws_secret_access_key="passes",
        config=Config(retries={"max_attempts": 0}, read_timeout=120),
    )


def test_no_operation_of_aws_takes_one(client: httpx.Client) -> None:
    runtime, bedrock = aws(client, "bedrock-runtime"), aws(client, "bedrock")
    said = [{"role": "user", "content": [{"text": "Once"}]}]
    asked = json.dumps({"prompt": "Once"})
    for ask in (
        lambda: runtime.converse(modelId="tickets", messages=said),
        lambda: runtime.invoke_model(modelId="tickets", body=asked),
        lambda: bedrock.create_provisioned_model_throughput(
            modelId="tickets", provisionedModelName="kept", modelUnits=1
        ),
    ):
        with pytest.raises(ClientError, match=re.escape(SENTENCE)) as caught:
            ask()
        assert caught.value.response["Error"]["Code"] == "ValidationException"
    for each in (runtime, bedrock):
        each.close()


async def test_no_other_door_takes_one(home: Home, registry: Registry) -> None:
    with pytest.raises(InputError, match=re.escape(f"tickets@1 {SENTENCE}")):
        starting_point("tickets", None, registry, home)
    with pytest.raises(InputError, match=re.escape(SENTENCE)):
        starting_point(str(registry.find("helpful").folder), None, registry, home)
    model = registry.find("tickets")
    with pytest.raises(InputError, match="cannot become a GGUF file: it is a classifier"):
        async with Pool(home.cache) as pool:
            await export(model, base_of(model, registry, home), "gguf-q8_0", home.root / "x", pool, registry)
    assert as_base(model, registry, home).architecture == "LlamaForSequenceClassification"


async def test_its_export_says_the_same(home: Home, registry: Registry) -> None:
    model, out = registry.find("helpful"), home.root / "exported"
    async with Pool(home.cache) as pool:
        result = await export(model, base_of(model, registry, home), "safetensors", out, pool, registry)
    assert (result["max_difference"], result["agreement"]) == (0, 1)
    assert find_labels(out) == ()


def test_bedrock_tells_no_loss_where_there_is_none() -> None:
    step = Event("step", {"step": 1, "epoch": 1.0, "loss": 0.5, "learning_rate": 0.1})
    validated = {"validationDataConfig": {"validators": [{"s3Uri": "s3://b/k"}]}}
    for loss, there in ((None, False), (0.25, True)):
        told = metrics(Story((step, Event("report", {"tuned": {"loss": loss}}))), validated)
        assert ("validationMetrics" in told, "trainingMetrics" in told) == (there, True)


def test_nobody_can_chat_with_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(home.root))
    done = CliRunner().invoke(app, ["chat", "tickets", "--prompt", "Once"])
    assert done.exit_code != 0
    assert isinstance(done.exception, InputError)
    assert SENTENCE in str(done.exception)


def test_its_card_has_code_that_runs(home: Home, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.root)
    for name, text in (("tickets", TEXTS[0]), ("helpful", "")):
        folder = registry.find(name).folder
        card = (folder / "README.md").read_text()
        assert "pipeline_tag: text-classification" in card
        assert "pumice chat" not in card
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        names: dict[str, Any] = {}
        for turn in TURNS:
            code = code.replace("…", text or turn["content"], 1)
        exec(code, names)
        renderer = Renderer(folder)
        ids = renderer.encode(text) if text else list(renderer.train(Example(1, tuple(TURNS), wanted=True)).ids)  # type: ignore[arg-type]
        assert torch.allclose(names["logits"], logits(folder, ids), atol=1e-5)
