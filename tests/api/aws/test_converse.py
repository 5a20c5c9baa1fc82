"""Converse as boto3 uses it, on the real default base, beside the same question on OpenAI's wire."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest
from botocore.exceptions import ClientError, EventStreamError
from live_server import Live

from pumice.bases.resolve import DEFAULT
from pumice.data.render import Renderer

ASK = [{"role": "user", "content": [{"text": "Count from 1 to 12."}]}]
SYSTEM = [{"text": "You are brief."}]
GREEDY = {"maxTokens": 24, "temperature": 0}
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": [{"text": "Tell a long story about a river, in many chapters."}]}],
    # Hot enough that it does not stop by itself.
    "inferenceConfig": {"maxTokens": 2000, "temperature": 1},
}


@pytest.fixture(scope="module")
def greedy(live: Live, runtime: Any) -> dict[str, Any]:
    """The answer that the other tests here compare with."""
    answer: dict[str, Any] = runtime.converse(
        modelId=DEFAULT, messages=ASK, system=SYSTEM, inferenceConfig=GREEDY, requestMetadata={"team": "colours"}
    )
    return answer


def text(answer: dict[str, Any]) -> str:
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def test_both_wires_say_the_same_and_count_the_same(live: Live, greedy: dict[str, Any]) -> None:
    chat = live.client.chat.completions.create(
        model=DEFAULT,
        messages=[{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Count from 1 to 12."}],
        temperature=0,
        max_tokens=24,
    )
    assert text(greedy) == chat.choices[0].message.content
    assert greedy["output"]["message"]["role"] == "assistant"
    assert greedy["usage"] == {
        "inputTokens": chat.usage.prompt_tokens,
        "outputTokens": chat.usage.completion_tokens,
        "totalTokens": chat.usage.total_tokens,
    }
    assert greedy["stopReason"] == {"stop": "end_turn", "length": "max_tokens"}[chat.choices[0].finish_reason]
    assert greedy["metrics"]["latencyMs"] > 0


def test_a_stream_says_the_same_in_bedrocks_order(runtime: Any, greedy: dict[str, Any]) -> None:
    stream = runtime.converse_stream(modelId=DEFAULT, messages=ASK, system=SYSTEM, inferenceConfig=GREEDY)["stream"]
    events = list(stream)
    names = [next(iter(event)) for event in events]
    deltas = names.count("contentBlockDelta")
    assert names == [
        "messageStart",
        *["contentBlockDelta"] * deltas,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert deltas > 5
    said = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert "".join(said) == text(greedy)
    assert events[-2]["messageStop"]["stopReason"] == greedy["stopReason"]
    assert events[-1]["metadata"]["usage"] == greedy["usage"]
    assert events[-1]["metadata"]["metrics"]["latencyMs"] > 0


def test_a_conversation_goes_on(live: Live, runtime: Any) -> None:
    turns = [
        *ASK,
        {"role": "assistant", "content": [{"text": "Red, "}, {"text": "green, blue."}]},
        {"role": "user", "content": [{"text": "One more."}]},
    ]
    answer = runtime.converse(modelId=DEFAULT, messages=turns, inferenceConfig=GREEDY)
    same = [
        {"role": "user", "content": "Count from 1 to 12."},
        {"role": "assistant", "content": "Red, green, blue."},
        {"role": "user", "content": "One more."},
    ]
    assert answer["usage"]["inputTokens"] == len(Renderer(live.base.folder).prompt(same))


def test_what_is_counted_is_what_is_reported(runtime: Any, greedy: dict[str, Any]) -> None:
    counted = runtime.count_tokens(modelId=DEFAULT, input={"converse": {"messages": ASK, "system": SYSTEM}})
    assert counted["inputTokens"] == greedy["usage"]["inputTokens"]


@pytest.mark.parametrize("streamed", [False, True])
def test_why_an_answer_ended(runtime: Any, streamed: bool) -> None:
    def reason(**inference: Any) -> tuple[str, dict[str, Any]]:
        asked = {
            "modelId": DEFAULT,
            "messages": ASK,
            "system": SYSTEM,
            "inferenceConfig": {"temperature": 0, **inference},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        }
        if not streamed:
            answer = runtime.converse(**asked)
            return answer["stopReason"], answer.get("additionalModelResponseFields", {})
        stop = list(runtime.converse_stream(**asked)["stream"])[-2]["messageStop"]
        return stop["stopReason"], stop.get("additionalModelResponseFields", {})

    assert reason(maxTokens=2) == ("max_tokens", {})
    assert reason(maxTokens=200) == ("end_turn", {})
    assert reason(maxTokens=200, stopSequences=["never said", "e"]) == ("stop_sequence", {"stop_sequence": "e"})


def test_what_a_model_draws_from(runtime: Any) -> None:
    def say(**more: Any) -> str:
        asked = {"maxTokens": 16, "temperature": 1.0}
        return text(
            runtime.converse(modelId=DEFAULT, messages=ASK, inferenceConfig=asked, additionalModelRequestFields=more)
        )

    greedy = text(runtime.converse(modelId=DEFAULT, messages=ASK, inferenceConfig={"maxTokens": 16, "temperature": 0}))
    assert say(top_k=1) == greedy
    assert say(inferenceConfig={"topK": 1}) == greedy
    assert say(seed=7) == say(seed=7)
    with pytest.raises(ClientError, match=r"additionalModelRequestFields.min_p.*top_k, topK, seed"):
        say(min_p=1)


def test_an_answer_follows_a_schema(runtime: Any) -> None:
    schema = '{"type":"object","properties":{"n":{"enum":[17]}},"required":["n"],"additionalProperties":false}'
    form = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "n"}}}}
    answer = runtime.converse(modelId=DEFAULT, messages=ASK, outputConfig=form, inferenceConfig={"temperature": 0})
    assert json.loads(text(answer)) == {"n": 17}


def test_a_schema_that_cannot_be_kept_is_refused_before_a_stream_begins(runtime: Any) -> None:
    form = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "[]", "name": "n"}}}}
    for operation in (runtime.converse, runtime.converse_stream):
        with pytest.raises(runtime.exceptions.ValidationException, match="schema is no JSON object"):
            operation(modelId=DEFAULT, messages=ASK, outputConfig=form)


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        (
            {"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": b"x"}}}]}]},
            "ValidationException",
            r"messages\[0\].content\[0\].image: this model reads text",
        ),
        ({"messages": [{"role": "assistant", "content": [{"text": "hi"}]}]}, "ValidationException", "of the user"),
        ({"promptVariables": {"name": {"text": "x"}}}, "ValidationException", "promptVariables"),
        ({"messages": [{"role": "user", "content": [{"text": "x " * 9000}]}]}, "ValidationException", "context length"),
        ({"modelId": "nobody"}, "ResourceNotFoundException", "'nobody' does not exist"),
        ({"modelId": "us.meta.llama3-2-1b-instruct-v1:0"}, "ResourceNotFoundException", "inference profile"),
        (
            {"modelId": "arn:aws:bedrock:us-east-1:000000000000:custom-model-deployment/gone"},
            "ResourceNotFoundException",
            "custom model deployment",
        ),
        ({"modelId": "Qwen/Qwen3-0.6B"}, "ModelNotReadyException", "nothing here stands on it"),
    ],
)
def test_a_refusal_is_a_modelled_exception(runtime: Any, change: dict[str, Any], code: str, sentence: str) -> None:
    with pytest.raises(getattr(runtime.exceptions, code), match=sentence):
        runtime.converse(**{"modelId": DEFAULT, "messages": ASK, **change})
    with pytest.raises(getattr(runtime.exceptions, code), match=sentence):
        runtime.converse_stream(**{"modelId": DEFAULT, "messages": ASK, **change})


def test_an_engine_that_dies_ends_the_stream_with_its_modelled_exception(runtime: Any) -> None:
    stream = runtime.converse_stream(modelId=DEFAULT, **LONG)["stream"]
    events = iter(stream)
    next(events)
    for child in psutil.Process().children(recursive=True):
        if "pumice.engine.llamacpp_child" in child.cmdline():
            child.kill()
    with pytest.raises(EventStreamError) as broken:
        list(events)
    stream.close()
    assert broken.value.response["Error"]["Code"] == "serviceUnavailableException"
    assert "ended during the answer" in broken.value.response["Error"]["Message"]


@pytest.mark.parametrize("path", ["converse", "converse-stream"])
def test_a_caller_who_leaves_ends_the_generation(live: Live, runtime: Any, path: str) -> None:
    content = json.dumps(LONG).encode()
    with socket.create_connection(live.address) as caller:
        head = f"POST /model/{DEFAULT}/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        caller.sendall(head.encode() + content)
        wait_for(lambda: running(live) == 1)
        # A far shorter answer, which would be the first to end if the long one went on.
        shorter = {**LONG, "inferenceConfig": {"maxTokens": 150, "temperature": 1}}
        other = iter(runtime.converse_stream(modelId=DEFAULT, **shorter)["stream"])
        next(other)
        assert running(live) == 2
    wait_for(lambda: running(live) == 1)
    list(other)
    assert running(live) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; minutes without it are a failure."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def running(live: Live) -> float:
    """Answers under way in the default base's engine process."""
    lines = httpx.get(f"{live.url}/metrics").text.splitlines()
    name = f'pumice_engine_running{{engine="llama.cpp",folder="bases/{live.base.name}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))
