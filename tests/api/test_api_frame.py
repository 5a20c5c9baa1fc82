"""What is written once for all events of an answer makes each of them whole JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pumice.api.openai.events import Frame
from pumice.api.openai.wire import Usage

COMMON = {"id": "cmpl-1", "object": "text_completion", "model": 'a "quoted" model ü'}


def read(event: str) -> dict[str, Any]:
    """As a client does."""
    assert event.startswith("data: ") and event.endswith("\n\n") and event.count("\n") == 2
    told: dict[str, Any] = json.loads(event[6:])
    assert type(told.pop("created")) is int
    return told


@pytest.mark.parametrize("text", ["", " hello", 'a "quote"\n\n data: \\ end', "€ 🎉 \u2028 \x00"])
def test_an_event_has_what_is_common_and_its_own_choice(text: str) -> None:
    choice = {"index": 1, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    assert read(Frame(**COMMON).event(choice)) == {**COMMON, "choices": [choice]}


def test_the_tokens_are_counted_in_an_event_without_a_choice() -> None:
    counted = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert read(Frame(**COMMON).usage(Usage(**counted))) == {**COMMON, "choices": [], "usage": counted}
