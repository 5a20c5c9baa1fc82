"""OpenAI's chat body, which imported models take as well."""

from __future__ import annotations

import json
import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pumice.api.aws.runtime.families import chat
from pumice.api.aws.runtime.families.form import Chunks, Family, Form
from pumice.api.aws.runtime.question import Question, refuse, sampled
from pumice.api.aws.runtime.reply import End, Reply, Whole
from pumice.engine.contract import Constraint


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Schema(Form):
    name: str = ""
    description: str = ""
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Form):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class Body(Form):
    messages: list[chat.Message]
    model: str | None = None
    """Accepted; the path says which model answers."""
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    stop: Annotated[list[str], BeforeValidator(_as_list)] = Field([])
    seed: int | None = None
    tools: list[chat.FunctionTool] | None = None
    tool_choice: chat.Chosen = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    """Accepted; the operation says whether it streams."""


def question(body: Body) -> Question:
    """What it asks."""
    tools, choice = chat.chosen(body.tools, body.tool_choice, body.parallel_tool_calls)
    constraint = _constraint(body.response_format)
    if tools and constraint:
        raise refuse("response_format and tools: an answer is held to one of them, so send one.")
    return Question(
        turns=chat.turns(body.messages),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        sampling=sampled(body.temperature, body.top_p, seed=body.seed),
        stop=tuple(body.stop),
        tools=tools,
        choice=choice,
        constraint=constraint,
    )


def whole(done: Whole) -> dict[str, Any]:
    """A complete answer."""
    message: dict[str, Any] = {"role": "assistant", "content": done.text or (None if done.calls else "")}
    if done.calls:
        message["tool_calls"] = chat.called(done.calls)
    choice = {"index": 0, "message": message, "finish_reason": _reason(done.end)}
    return {**_frame(done.reply, "chat.completion"), "choices": [choice], "usage": _usage(done.reply)}


async def chunks(reply: Reply) -> Chunks:
    """An answer as it comes."""
    frame = _frame(reply, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield chunk({"role": "assistant", "content": ""})
    calls = 0
    async for event in reply.events:
        if isinstance(event, End):
            yield {**chunk({}, _reason(event)), "usage": _usage(reply), **reply.metrics()}
        elif isinstance(event, str):
            yield chunk({"content": event})
        else:
            yield chunk({"tool_calls": [{"index": calls, **chat.called([event])[0]}]})
            calls += 1


def _constraint(form: ResponseFormat | None) -> Constraint | None:
    if form is None or form.type == "text":
        return None
    schema = form.json_schema.schema_ if form.json_schema else {"type": "object"}
    return Constraint("json_schema", json.dumps(schema))


def _frame(reply: Reply, object_: str) -> dict[str, Any]:
    created = int(time.time())
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": object_, "created": created, "model": reply.model}


def _usage(reply: Reply) -> dict[str, int]:
    asked, made = reply.exchange.input_tokens, reply.exchange.output_tokens
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def _reason(end: End) -> str:
    return {"length": "length", "tool": "tool_calls", "guardrail": "content_filter"}.get(end.reason, "stop")


FAMILY = Family("OpenAI chat", Body, question, whole, chunks)
