"""Embeddings through the official client."""

from __future__ import annotations

import math

import openai
import pytest
from live_server import Live

MODEL = "all-minilm-l6-v2"
TEXTS = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose by half a percent."]


def closeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_what_means_the_same_is_close(live: Live) -> None:
    answer = live.client.embeddings.create(model=MODEL, input=TEXTS)
    cat, kitten, rates = (each.embedding for each in answer.data)
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert len(cat) == 384
    assert math.isclose(closeness(cat, cat), 1, abs_tol=1e-4)
    assert closeness(cat, kitten) > 0.5 > closeness(cat, rates) + 0.2
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 20


def test_floats_and_base64_and_ids_are_the_same_vectors(live: Live) -> None:
    # The client asks for base64 by itself where nothing is said.
    packed = live.client.embeddings.create(model=MODEL, input=TEXTS[0]).data[0].embedding
    floats = live.client.embeddings.create(model=MODEL, input=TEXTS[0], encoding_format="float").data[0].embedding
    assert packed == pytest.approx(floats, abs=1e-6)


def test_mistakes_are_named(live: Live) -> None:
    for arguments, param in (
        ({"model": MODEL, "input": TEXTS, "dimensions": 100}, "dimensions"),
        ({"model": MODEL, "input": [[1, 999_999]]}, "input"),
        ({"model": "red", "input": TEXTS}, "model"),
        ({"model": MODEL, "input": []}, "input"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            live.client.embeddings.create(**arguments)
        assert caught.value.param == param
    with pytest.raises(openai.NotFoundError):
        live.client.embeddings.create(model="nothing", input="x")
