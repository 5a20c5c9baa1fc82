"""Chat through the official client, on the real default base."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from live_server import Live

from pumice.data.render import Renderer

# Sure of every token of its answer by 0.9 nats: sums are rounded otherwise with a prompt that is in the cache.
ASK = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Count from 1 to 12."}]


@pytest.fixture(scope="module")
def greedy(live: Live) -> openai.types.chat.ChatCompletion:
    """The answer that the other tests here compare with."""
    return live.client.chat.completions.create(
        model=live.base.name, messages=ASK, temperature=0, max_tokens=24, logprobs=True, top_logprobs=3
    )


def test_an_answer_and_its_token_counts(live: Live, greedy: openai.types.chat.ChatCompletion) -> None:
    renderer = Renderer(live.base.folder)
    choice = greedy.choices[0]
    assert greedy.model == live.base.name
    assert choice.message.role == "assistant"
    assert choice.message.content
    # Promise 1: the ids that were counted are the renderer's.
    assert greedy.usage.prompt_tokens == len(renderer.prompt(ASK))
    assert greedy.usage.completion_tokens == len(choice.logprobs.content)
    assert greedy.usage.total_tokens == greedy.usage.prompt_tokens + greedy.usage.completion_tokens
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content


def test_a_greedy_token_is_the_most_likely_of_the_reported(greedy: openai.types.chat.ChatCompletion) -> None:
    for token in greedy.choices[0].logprobs.content:
        assert len(token.top_logprobs) == 3
        assert token.logprob <= 0
        assert token.logprob == max(other.logprob for other in token.top_logprobs)
        assert token.token == token.top_logprobs[0].token
        assert bytes(token.bytes).decode() == token.token


def test_a_stream_says_the_same(live: Live, greedy: openai.types.chat.ChatCompletion) -> None:
    chunks = list(
        live.client.chat.completions.create(
            model=live.base.name,
            messages=ASK,
            temperature=0,
            max_completion_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
            logprobs=True,
        )
    )
    *answer, last = chunks
    assert last.choices == []
    assert last.usage == greedy.usage
    assert all(chunk.usage is None for chunk in answer)
    assert len({chunk.id for chunk in chunks}) == 1
    assert answer[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == greedy.choices[0].message.content
    finishes = [chunk.choices[0].finish_reason for chunk in answer]
    assert finishes == [None] * (len(answer) - 1) + [greedy.choices[0].finish_reason]
    reported = [chunk.choices[0].logprobs for chunk in answer if chunk.choices[0].logprobs]
    tokens = [token.token for logprobs in reported for token in logprobs.content]
    assert tokens == [token.token for token in greedy.choices[0].logprobs.content]
    assert len(answer) > 5


def test_a_stream_ends_as_openai_ends_it(live: Live) -> None:
    body = {"model": live.base.name, "messages": ASK, "max_tokens": 3, "stream": True}
    answer = httpx.post(f"{live.url}/openai/v1/chat/completions", json=body, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        chunk = json.loads(event.removeprefix("data: "))
        assert chunk["object"] == "chat.completion.chunk"
        assert set(chunk) == {"id", "object", "created", "model", "choices"}
        assert set(chunk["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}


def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(
    live: Live, greedy: openai.types.chat.ChatCompletion
) -> None:
    text = greedy.choices[0].message.content
    # Across a token border, so that it cannot be found in one piece.
    middle = len(text) // 2
    stop = text[middle - 3 : middle + 3]
    for stops in (stop, ["never said", stop]):
        arguments = {"model": live.base.name, "messages": ASK, "temperature": 0, "max_tokens": 24, "stop": stops}
        cut = live.client.chat.completions.create(**arguments).choices[0]
        assert (cut.message.content, cut.finish_reason) == (text[: text.index(stop)], "stop")
        chunks = list(live.client.chat.completions.create(**arguments, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text[: text.index(stop)]
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_token_limit(live: Live) -> None:
    answer = live.client.chat.completions.create(model=live.base.name, messages=ASK, temperature=0, max_tokens=2)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)


def test_a_seed_draws_the_same_again_and_n_draws_differently(live: Live) -> None:
    arguments = {"model": live.base.name, "messages": ASK, "temperature": 1.5, "seed": 7, "max_tokens": 12}
    first = live.client.chat.completions.create(**arguments, n=2)
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1]
    assert texts[0] != texts[1]
    assert first.usage.prompt_tokens == len(Renderer(live.base.folder).prompt(ASK))
    assert first.usage.completion_tokens <= 24
    # One at a time and with the prompt in the cache: beside another answer the sums are rounded otherwise.
    alone = [live.client.chat.completions.create(**arguments).choices[0].message.content for _ in range(3)]
    assert alone[1] == alone[2]
    other = live.client.chat.completions.create(**{**arguments, "seed": 8}).choices[0].message.content
    assert other != alone[2]
    streamed: dict[int, str] = {0: "", 1: ""}
    for chunk in live.client.chat.completions.create(**arguments, n=2, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert all(streamed.values())


def test_an_answer_that_follows_a_schema(live: Live) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = live.client.chat.completions.create(
        model=live.base.name,
        messages=[{"role": "user", "content": "Describe a person."}],
        temperature=1,
        seed=1,
        max_tokens=100,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
    )
    person = json.loads(answer.choices[0].message.content)
    assert set(person) == {"name", "age"}
    assert isinstance(person["name"], str)
    assert 0 <= person["age"] <= 99
    with pytest.raises(openai.BadRequestError):
        live.client.chat.completions.create(
            model=live.base.name,
            messages=ASK,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "wizard"}}},
        )


def test_any_json_object(live: Live) -> None:
    answer = live.client.chat.completions.create(
        model=live.base.name,
        messages=[{"role": "user", "content": 'Say {"a": 1} as JSON.'}],
        temperature=0,
        max_tokens=300,
        response_format={"type": "json_object"},
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_parts_and_the_developer_role_are_the_same_prompt(live: Live) -> None:
    parts = [
        {"role": "developer", "content": "You are brief."},
        {"role": "user", "content": [{"type": "text", "text": "Count from "}, {"type": "text", "text": "1 to 12."}]},
    ]
    plain, other = (
        live.client.chat.completions.create(model=live.base.name, messages=messages, temperature=0, max_tokens=5)
        for messages in (ASK, parts)
    )
    assert other.usage == plain.usage
    assert other.choices == plain.choices


def test_a_prompt_longer_than_the_window(live: Live) -> None:
    messages = [{"role": "user", "content": "word " * 600}]
    with pytest.raises(openai.BadRequestError, match="maximum context length is 512") as refusal:
        live.client.chat.completions.create(model="red", messages=messages)
    assert (refusal.value.code, refusal.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError) as refusal:
        live.client.chat.completions.create(model="red", messages=messages, stream=True)
    assert refusal.value.code == "context_length_exceeded"


def test_an_answer_ends_where_the_window_does(live: Live) -> None:
    messages = [{"role": "user", "content": "word " * 450}]
    answer = live.client.chat.completions.create(model="red", messages=messages, max_tokens=5000)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == 512


def test_every_registered_name_answers(live: Live) -> None:
    cards = {card.id: card for card in live.client.models.list()}
    assert {"red", "red@1", "blue", "blue@1", live.base.name, live.tiny.name} <= set(cards)
    assert cards["red"].created > 1_700_000_000
    assert live.client.models.retrieve("red@1") == cards["red@1"]
    assert httpx.get(f"{live.url}/v1/models/{live.tiny.name}").json()["id"] == live.tiny.name
    for name, answers_as in (("red", "red@1"), ("red@1", "red@1"), (live.tiny.name, live.tiny.name)):
        answer = live.client.chat.completions.create(model=name, messages=ASK, temperature=0, max_tokens=4)
        assert answer.model == answers_as
    with pytest.raises(openai.NotFoundError) as refusal:
        live.client.chat.completions.create(model="redd", messages=ASK)
    assert refusal.value.code == "model_not_found"
    assert "'red'" in refusal.value.message
    with pytest.raises(openai.NotFoundError, match="red@1"):
        live.client.chat.completions.create(model="red@2", messages=ASK)


def test_two_adapters_and_their_base_at_once_answer_each_as_itself(live: Live) -> None:
    def ask(model: str) -> str:
        answer = live.client.chat.completions.create(model=model, messages=ASK, temperature=0, max_tokens=12)
        return answer.choices[0].message.content or ""

    alone = {model: ask(model) for model in ("red", "blue", live.tiny.name)}
    assert len(set(alone.values())) == 3
    models = ["red", "blue", live.tiny.name, "blue", "red", live.tiny.name, "red", "blue"]
    with ThreadPoolExecutor(len(models)) as threads:
        together = list(threads.map(ask, models))
    assert together == [alone[model] for model in models]


def test_the_counts_of_generation(live: Live) -> None:
    answer = live.client.chat.completions.create(model="blue", messages=ASK, temperature=0, max_tokens=4)
    text = httpx.get(f"{live.url}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['vllm:prompt_tokens_total{model_name="blue@1"}']) >= answer.usage.prompt_tokens
    assert float(lines['vllm:generation_tokens_total{model_name="blue@1"}']) >= 4
    assert float(lines['vllm:num_requests_running{model_name="blue@1"}']) == 0


def test_the_example_runs(live: Live) -> None:
    script = Path(__file__).parents[2] / "examples" / "openai_chat.py"
    result = subprocess.run(
        [sys.executable, str(script), live.base.name, "Name three colours."],
        env={**os.environ, "OPENAI_BASE_URL": f"{live.url}/v1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip()
