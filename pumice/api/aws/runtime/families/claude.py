"""Anthropic's body, the messages of Claude."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pumice.api.aws.runtime.families.form import Chunks, Family, Form
from pumice.api.aws.runtime.question import Question, assistant, check_turns, refuse, sampled
from pumice.api.aws.runtime.reply import End, Reason, Reply, Whole
from pumice.engine import tools
from pumice.engine.tools import Choice, Tool
from pumice.records import Turn

REASONS: Mapping[Reason, str] = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop": "stop_sequence",
    "tool": "tool_use",
    "guardrail": "guardrail_intervened",
}


def _as_blocks(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class Text(Form):
    type: Literal["text"]
    text: str
    cache_control: dict[str, Any] | None = None
    """Accepted; what is cached changes no answer."""


class ToolUse(Form):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: dict[str, Any] | None = None


class ToolResult(Form):
    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[list[Text], BeforeValidator(_as_blocks)] = Field([])
    is_error: bool | None = None
    cache_control: dict[str, Any] | None = None


Block = Annotated[Text | ToolUse | ToolResult, Field(discriminator="type")]


class Message(Form):
    role: Literal["user", "assistant"]
    content: Annotated[list[Block], BeforeValidator(_as_blocks)]


class ClaudeTool(Form):
    name: str
    description: str = ""
    input_schema: dict[str, Any]
    type: Literal["custom"] = "custom"
    cache_control: dict[str, Any] | None = None


class ToolChoice(Form):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Body(Form):
    anthropic_version: Literal["bedrock-2023-05-31"]
    max_tokens: int = Field(ge=1)
    messages: list[Message]
    system: Annotated[list[Text], BeforeValidator(_as_blocks)] = Field([])
    temperature: float = Field(1.0, ge=0, le=1)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0)
    stop_sequences: list[str] = Field([])
    tools: list[ClaudeTool] = Field([])
    tool_choice: ToolChoice = ToolChoice(type="auto")
    metadata: dict[str, Any] | None = None
    """Accepted; nothing depends on it."""


def question(body: Body) -> Question:
    """What it asks."""
    turns: list[Turn] = [{"role": "system", "content": _joined(body.system)}] if body.system else []
    for message in body.messages:
        turns += _turns(message)
    choice = body.tool_choice
    offered = [] if choice.type == "none" else body.tools
    return Question(
        turns=check_turns(tuple(turns), "messages"),
        max_tokens=body.max_tokens,
        sampling=sampled(body.temperature, body.top_p, body.top_k),
        stop=tuple(body.stop_sequences),
        tools=tuple(Tool(each.name, each.description, each.input_schema) for each in offered),
        choice=Choice(choice.type == "any", choice.name, not choice.disable_parallel_tool_use),
    )


def whole(done: Whole) -> dict[str, Any]:
    """A complete answer."""
    content = [{"type": "text", "text": done.text}] if done.text or not done.calls else []
    content += [{**_use(each), "input": json.loads(each.arguments)} for each in done.calls]
    stop = {"stop_reason": REASONS[done.end.reason], "stop_sequence": done.end.stop}
    return {**_message(done.reply), "content": content, **stop, "usage": _usage(done.reply)}


async def chunks(reply: Reply) -> Chunks:
    """An answer as it comes, in Anthropic's own events."""
    began = {**_message(reply), "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": {**began, "usage": {**_usage(reply), "output_tokens": 0}}}
    index, open_ = 0, False
    async for event in reply.events:
        if isinstance(event, str):
            if not open_:
                open_ = True
                yield _block(index, {"type": "text", "text": ""})
            yield _delta(index, {"type": "text_delta", "text": event})
            continue
        if open_:
            yield {"type": "content_block_stop", "index": index}
            index, open_ = index + 1, False
        if isinstance(event, tools.Call):
            yield _block(index, {**_use(event), "input": {}})
            yield _delta(index, {"type": "input_json_delta", "partial_json": event.arguments})
            yield {"type": "content_block_stop", "index": index}
            index += 1
        else:
            for each in _ended(reply, event):
                yield each


def _ended(reply: Reply, end: End) -> Iterator[dict[str, Any]]:
    delta = {"stop_reason": REASONS[end.reason], "stop_sequence": end.stop}
    made = {"output_tokens": reply.exchange.output_tokens}
    yield {"type": "message_delta", "delta": delta, "usage": made}
    yield {"type": "message_stop", **reply.metrics()}


def _turns(message: Message) -> Iterator[Turn]:
    text = _joined([block for block in message.content if isinstance(block, Text)])
    calls = [(block.id, block.name, block.input) for block in message.content if isinstance(block, ToolUse)]
    results = [block for block in message.content if isinstance(block, ToolResult)]
    if message.role == "assistant":
        yield assistant(text, calls)
        return
    if calls:
        raise refuse("messages: a tool_use stands in a message of the assistant, not of the user.")
    for each in results:
        yield {"role": "tool", "content": _joined(each.content)}
    if text or not results:
        yield {"role": "user", "content": text}


def _joined(blocks: Sequence[Text]) -> str:
    return "".join(block.text for block in blocks)


def _message(reply: Reply) -> dict[str, Any]:
    return {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant", "model": reply.model}


def _usage(reply: Reply) -> dict[str, int]:
    return {"input_tokens": reply.exchange.input_tokens, "output_tokens": reply.exchange.output_tokens}


def _use(call: tools.Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _block(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


FAMILY = Family("Claude", Body, question, whole, chunks)
