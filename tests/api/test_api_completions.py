"""Plain completions through the official client."""

from __future__ import annotations

import openai
import pytest
import torch
from live_server import Live
from transformers import AutoModelForCausalLM

from pumice.data.render import Renderer

TEXT = "The capital of France is"


def test_a_text_and_its_ids_go_on_alike(live: Live) -> None:
    ids = Renderer(live.base.folder).encode(TEXT)
    arguments = {"model": live.base.name, "temperature": 0, "max_tokens": 8}
    text = live.client.completions.create(prompt=TEXT, **arguments)
    by_ids = live.client.completions.create(prompt=ids, **arguments)
    assert text.object == "text_completion"
    assert "Paris" in text.choices[0].text
    assert text.choices[0].finish_reason == "length"
    assert (text.usage.prompt_tokens, text.usage.completion_tokens) == (len(ids), 8)
    assert (by_ids.choices, by_ids.usage) == (text.choices, text.usage)


def test_several_prompts_have_their_answers_in_order(live: Live) -> None:
    arguments = {"model": live.base.name, "temperature": 0, "max_tokens": 4}
    prompts = [TEXT, "One, two, three,"]
    alone = [live.client.completions.create(prompt=prompt, **arguments) for prompt in prompts]
    together = live.client.completions.create(prompt=prompts, n=2, **arguments)
    texts = [answer.choices[0].text for answer in alone]
    assert [choice.text for choice in together.choices] == [texts[0], texts[0], texts[1], texts[1]]
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    assert together.usage.prompt_tokens == sum(answer.usage.prompt_tokens for answer in alone)
    assert together.usage.completion_tokens == 16
    prompts_as_ids = [Renderer(live.base.folder).encode(prompt) for prompt in prompts]
    by_ids = live.client.completions.create(prompt=prompts_as_ids, **arguments)
    assert [choice.text for choice in by_ids.choices] == texts


def test_a_stream_and_an_echo(live: Live) -> None:
    arguments = {"model": live.base.name, "prompt": TEXT, "temperature": 0, "max_tokens": 6}
    plain = live.client.completions.create(**arguments)
    echoed = live.client.completions.create(**arguments, echo=True)
    assert echoed.choices[0].text == TEXT + plain.choices[0].text
    chunks = list(
        live.client.completions.create(**arguments, echo=True, stream=True, stream_options={"include_usage": True})
    )
    *answer, last = chunks
    assert "".join(chunk.choices[0].text for chunk in answer) == echoed.choices[0].text
    assert (last.choices, last.usage) == ([], plain.usage)
    assert answer[-1].choices[0].finish_reason == "length"


def test_by_default_sixteen_tokens(live: Live) -> None:
    answer = live.client.completions.create(model="red", prompt=TEXT, temperature=0)
    assert answer.usage.completion_tokens == 16


def test_probabilities_beside_each_token(live: Live) -> None:
    answer = live.client.completions.create(model=live.base.name, prompt=TEXT, temperature=0, max_tokens=6, logprobs=2)
    choice = answer.choices[0]
    logprobs = choice.logprobs
    assert logprobs.tokens[0] == " Paris"
    for chosen, top in zip(logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert len(top) == 2
        assert chosen == max(top.values())
    for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
        assert choice.text[offset:].startswith(token)


def test_ids_beyond_the_vocabulary(live: Live) -> None:
    with pytest.raises(openai.BadRequestError, match=r"99,?999,?999.*vocabulary"):
        live.client.completions.create(model=live.base.name, prompt=[1, 99_999_999])


def test_an_empty_text_begins_somewhere(live: Live) -> None:
    answer = live.client.completions.create(model=live.base.name, prompt="", temperature=0, max_tokens=3)
    assert answer.usage.completion_tokens == 3


@pytest.mark.parametrize("max_tokens", [0, 3])
def test_an_echo_tells_how_likely_the_prompt_is(live: Live, max_tokens: int) -> None:
    """As evaluation harnesses ask for it; the oracle is the model itself, run by transformers."""
    ids = Renderer(live.base.folder).encode(TEXT)
    arguments = {"model": live.base.name, "temperature": 0, "max_tokens": max_tokens, "echo": True, "logprobs": 2}
    answer = live.client.completions.create(prompt=TEXT, **arguments)
    [choice] = answer.choices
    assert choice.text.startswith(TEXT)
    assert answer.usage.completion_tokens == max_tokens
    found = choice.logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(ids) + max_tokens
    assert found.token_logprobs[0] is found.top_logprobs[0] is None
    assert [choice.text[at:].startswith(token) for at, token in zip(found.text_offset, found.tokens, strict=True)] == [
        True
    ] * len(found.tokens)
    model = AutoModelForCausalLM.from_pretrained(live.base.folder, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    for at in range(1, len(ids)):
        assert found.token_logprobs[at] == pytest.approx(float(expected[at - 1, ids[at]]), abs=1e-3)
        assert sorted(found.top_logprobs[at].values()) == pytest.approx(
            sorted(expected[at - 1].topk(2).values.tolist()), abs=1e-3
        )
    by_ids = live.client.completions.create(prompt=[ids, ids], **{**arguments, "max_tokens": 0})
    assert [each.logprobs.token_logprobs for each in by_ids.choices] == [found.token_logprobs[: len(ids)]] * 2


def test_an_echo_of_an_adapter_is_the_adapters(live: Live) -> None:
    arguments = {"prompt": TEXT, "max_tokens": 0, "echo": True, "logprobs": 1}
    red, blue = (
        live.client.completions.create(model=name, **arguments).choices[0].logprobs for name in ("red", "blue")
    )
    assert red.tokens == blue.tokens
    assert red.token_logprobs != blue.token_logprobs


def test_a_stream_of_an_echo_has_the_prompt_first(live: Live) -> None:
    arguments = {
        "model": live.base.name,
        "prompt": TEXT,
        "temperature": 0,
        "max_tokens": 3,
        "echo": True,
        "logprobs": 1,
    }
    whole = live.client.completions.create(**arguments).choices[0]
    chunks = [chunk.choices[0] for chunk in live.client.completions.create(**arguments, stream=True)]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert chunks[0].text == TEXT
    for field in ("tokens", "token_logprobs", "text_offset"):
        together = [each for chunk in chunks if chunk.logprobs for each in getattr(chunk.logprobs, field)]
        assert together == getattr(whole.logprobs, field), field
