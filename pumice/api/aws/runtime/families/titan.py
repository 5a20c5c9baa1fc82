"""Amazon Titan Text's bodies. Titan has no template that a caller would know: its text is what a user says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from pumice.api.aws.runtime.families.form import Chunks, Family, Form
from pumice.api.aws.runtime.question import Question, sampled
from pumice.api.aws.runtime.reply import End, Reason, Reply, Whole

REASONS: Mapping[Reason, str] = {
    "end": "FINISH",
    "length": "LENGTH",
    "stop": "STOP_CRITERIA_MET",
    "guardrail": "CONTENT_FILTERED",
}


class Config(Form):
    temperature: float = Field(0.7, ge=0, le=1)
    top_p: float = Field(0.9, ge=0, le=1, alias="topP")
    max_tokens: int = Field(512, ge=1, alias="maxTokenCount")
    stop: list[str] = Field([], alias="stopSequences")


class Body(Form):
    text: str = Field(alias="inputText")
    config: Config = Field(Config(), alias="textGenerationConfig")


def question(body: Body) -> Question:
    """What it asks."""
    config = body.config
    return Question(
        turns=({"role": "user", "content": body.text},),
        field="inputText",
        max_tokens=config.max_tokens,
        sampling=sampled(config.temperature, config.top_p),
        stop=tuple(config.stop),
    )


def whole(done: Whole) -> dict[str, Any]:
    """A complete answer."""
    made = done.reply.exchange.output_tokens
    result = {"tokenCount": made, "outputText": done.text, "completionReason": REASONS[done.end.reason]}
    return {"inputTextTokenCount": done.reply.exchange.input_tokens, "results": [result]}


async def chunks(reply: Reply) -> Chunks:
    """An answer as it comes; the last chunk counts."""
    async for event in reply.events:
        if isinstance(event, End):
            yield {**_chunk(reply, "", event), **reply.metrics()}
        else:
            yield _chunk(reply, str(event), None)


def _chunk(reply: Reply, text: str, end: End | None) -> dict[str, Any]:
    return {
        "outputText": text,
        "index": 0,
        "totalOutputTextTokenCount": end and reply.exchange.output_tokens,
        "completionReason": end and REASONS[end.reason],
        "inputTextTokenCount": end and reply.exchange.input_tokens,
    }


FAMILY = Family("Titan text", Body, question, whole, chunks)
