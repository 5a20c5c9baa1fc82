"""Meta's bodies: a prompt that its writer has put into the template, and its continuation."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pumice.api.aws.runtime.families.form import Chunks, Family, Form
from pumice.api.aws.runtime.question import Question, sampled
from pumice.api.aws.runtime.reply import End, Reply, Whole


class Body(Form):
    prompt: str
    max_gen_len: int = Field(512, ge=1)
    temperature: float = Field(0.5, ge=0, le=1)
    top_p: float = Field(0.9, ge=0, le=1)


def question(body: Body) -> Question:
    """What it asks."""
    sampling = sampled(body.temperature, body.top_p)
    return Question(prompt=body.prompt, field="prompt", max_tokens=body.max_gen_len, sampling=sampling)


def whole(done: Whole) -> dict[str, Any]:
    """A complete answer."""
    return _chunk(done.reply, done.text, done.end)


async def chunks(reply: Reply) -> Chunks:
    """An answer as it comes; the first chunk alone counts the prompt."""
    first = True
    async for event in reply.events:
        if isinstance(event, End):
            told = {**_chunk(reply, "", event), **reply.metrics()}
        else:
            told = _chunk(reply, str(event), None)
        yield told if first else {**told, "prompt_token_count": None}
        first = False


def _chunk(reply: Reply, text: str, end: End | None) -> dict[str, Any]:
    return {
        "generation": text,
        "prompt_token_count": reply.exchange.input_tokens,
        "generation_token_count": reply.exchange.output_tokens,
        "stop_reason": end and ("length" if end.reason == "length" else "stop"),
    }


FAMILY = Family("Llama", Body, question, whole, chunks)
