"""Mistral AI's bodies: a prompt and its continuation, and the chat form of the newer models."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pumice.api.aws.runtime.families import chat
from pumice.api.aws.runtime.families.form import Chunks, Family, Form
from pumice.api.aws.runtime.question import Question, sampled
from pumice.api.aws.runtime.reply import End, Reply, Whole


class TextBody(Form):
    prompt: str
    max_tokens: int = Field(512, ge=1)
    stop: list[str] = Field([])
    temperature: float = Field(0.5, ge=0, le=1)
    top_p: float = Field(0.9, ge=0, le=1)
    top_k: int = Field(50, ge=0)


class ChatBody(Form):
    messages: list[chat.Message]
    max_tokens: int | None = Field(None, ge=1)
    stop: list[str] = Field([])
    temperature: float = Field(0.7, ge=0, le=1)
    top_p: float = Field(1.0, ge=0, le=1)
    tools: list[chat.FunctionTool] | None = None
    tool_choice: chat.Chosen = None


def text_question(body: TextBody) -> Question:
    """What a prompt asks."""
    return Question(
        prompt=body.prompt,
        field="prompt",
        max_tokens=body.max_tokens,
        sampling=sampled(body.temperature, body.top_p, body.top_k),
        stop=tuple(body.stop),
    )


def text_whole(done: Whole) -> dict[str, Any]:
    """A complete continuation."""
    return _text(done.text, done.end)


async def text_chunks(reply: Reply) -> Chunks:
    """A continuation as it comes."""
    async for event in reply.events:
        if isinstance(event, End):
            yield {**_text("", event), **reply.metrics()}
        else:
            yield _text(str(event), None)


def chat_question(body: ChatBody) -> Question:
    """What a conversation asks."""
    tools, choice = chat.chosen(body.tools, body.tool_choice)
    return Question(
        turns=chat.turns(body.messages),
        max_tokens=body.max_tokens,
        sampling=sampled(body.temperature, body.top_p),
        stop=tuple(body.stop),
        tools=tools,
        choice=choice,
    )


def chat_whole(done: Whole) -> dict[str, Any]:
    """A complete answer."""
    message: dict[str, Any] = {"role": "assistant", "content": done.text}
    if done.calls:
        message["tool_calls"] = chat.called(done.calls)
    return _choice(message, done.end)


async def chat_chunks(reply: Reply) -> Chunks:
    """An answer as it comes."""
    async for event in reply.events:
        if isinstance(event, End):
            yield {**_choice({"role": "assistant", "content": ""}, event), **reply.metrics()}
        elif isinstance(event, str):
            yield _choice({"role": "assistant", "content": event}, None)
        else:
            yield _choice({"role": "assistant", "content": "", "tool_calls": chat.called([event])}, None)


def _text(text: str, end: End | None) -> dict[str, Any]:
    return {"outputs": [{"text": text, "stop_reason": _reason(end)}]}


def _choice(message: dict[str, Any], end: End | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "stop_reason": _reason(end)}]}


def _reason(end: End | None) -> str | None:
    return {"length": "length", "tool": "tool_calls"}.get(end.reason, "stop") if end else None


TEXT = Family("Mistral text", TextBody, text_question, text_whole, text_chunks)
CHAT = Family("Mistral chat", ChatBody, chat_question, chat_whole, chat_chunks)
