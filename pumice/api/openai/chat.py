"""`POST /chat/completions`. The ids that an engine gets are `Renderer.prompt`'s, and nothing else's."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request

from pumice.api.generation import Answering, Choice
from pumice.api.openai.events import Frame, Operation, Wanted, asks, new_id, usage
from pumice.api.openai.wire import (
    ChatChoice,
    ChatCompletion,
    ChatDelta,
    ChatFinish,
    ChatLogprobs,
    ChatMessage,
    ChatPart,
    ChatRequest,
    DeltaToolCall,
    FunctionCall,
    FunctionDefinition,
    Message,
    ResponseFormat,
    TokenLogprob,
    TopLogprob,
)
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.data.render import Renderer
from pumice.engine import contract, tools
from pumice.engine.answer import Ask, Finish
from pumice.engine.tools import Tool, constrain
from pumice.records import Turn


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter()

    @routes.post("/chat/completions", response_model=ChatCompletion)
    async def chat(request: ChatRequest, http: Request) -> Any:
        """Answer a conversation, whole or as server-sent events."""
        return await CHAT.respond(platform, request, http)

    return routes


def ask(request: ChatRequest, served: Served, param: str = "messages") -> list[Ask]:
    """What an engine is asked. Raises `RequestError`, naming `param`, for a conversation that leaves no room."""
    known = _tools(request)
    ids = served.renderer.prompt([turn_of(message) for message in request.messages], [tool.shown() for tool in known])
    # The engine reports the chosen token only among alternatives, so at least one is asked for.
    logprobs = max(1, request.top_logprobs or 0) if request.logprobs else 0
    most = request.max_completion_tokens or request.max_tokens
    form = constrain(known, _tool_choice(request)) if known else _schema(request.response_format)
    return asks(request, served, ids, Wanted(param, most, logprobs, form))


def turn_of(message: Message) -> Turn:
    """A message as every chat template reads it."""
    turn: Turn = {"role": "system" if message.role == "developer" else message.role, "content": message.content or ""}
    if message.tool_calls:
        turn["tool_calls"] = [call.model_dump(exclude={"index"}) for call in message.tool_calls]
    return turn


def _tools(request: ChatRequest) -> list[Tool]:
    return [_tool(each.function) for each in request.tools or ()] if request.may_call else []


def _tool(function: FunctionDefinition) -> Tool:
    return Tool(function.name, function.description or "", function.parameters or {})


def _tool_choice(request: ChatRequest) -> tools.Choice:
    chosen = request.tool_choice or "auto"
    name = chosen[1:] if chosen.startswith("=") else None
    return tools.Choice(chosen == "required", name, request.parallel_tool_calls is not False)


def _schema(form: ResponseFormat | None) -> contract.Constraint | None:
    if form is None or form.type == "text":
        return None
    schema = form.json_schema.schema_ if form.json_schema else {"type": "object"}
    return contract.Constraint("json_schema", json.dumps(schema))


async def _whole(answering: Answering, request: ChatRequest) -> ChatCompletion:
    await answering.whole()
    return _body(answering, request)


def _body(answering: Answering, request: ChatRequest) -> ChatCompletion:
    return ChatCompletion(
        id=new_id("chatcmpl"),
        created=int(time.time()),
        model=answering.served.id,
        choices=[_choice(index, choice, answering, request) for index, choice in enumerate(answering.choices)],
        usage=usage(answering.exchange),
    )


def _choice(index: int, choice: Choice, answering: Answering, request: ChatRequest) -> ChatChoice:
    # Only a caller who went away leaves an answer without an end: it was cut off.
    finish = choice.finish or "length"
    reading = reader(request)
    text, calls = reading.read(choice.text, finish)
    return ChatChoice(
        index=index,
        message=ChatMessage(content=None if calls and not text else text, tool_calls=list(calls) or None),
        logprobs=_logprobs(choice.logprobs, answering.served.renderer, request),
        finish_reason=reading.finish(finish),
    )


class Reader:
    """One answer's text, and its calls where it may have any, as they come."""

    def __init__(self, known: Sequence[Tool]) -> None:
        self._caller = tools.Caller(known) if known else None
        self._calls = 0

    def read(self, text: str, finish: Finish | None) -> tuple[str, list[DeltaToolCall]]:
        """What is certain after the next piece, which is the last when it has a `finish`."""
        if self._caller is None:
            return text, []
        said = self._caller.push(text)
        # A call that was cut off is in nobody's words: its beginning is neither text nor something to act on.
        rest = self._caller.flush(finish == "length").text if finish else ""
        calls = [
            DeltaToolCall(
                index=index,
                id=call.id,
                type="function",
                function=FunctionCall(name=call.name, arguments=call.arguments),
            )
            for index, call in enumerate(said.calls, self._calls)
        ]
        self._calls += len(calls)
        return said.text + rest, calls

    def finish(self, finish: Finish) -> ChatFinish:
        """Why the answer ended, in this wire's words."""
        return "tool_calls" if self._calls and finish == "stop" else finish


def reader(request: ChatRequest) -> Reader:
    """What reads one answer to this request."""
    return Reader(_tools(request))


async def _chunks(answering: Answering, request: ChatRequest) -> AsyncGenerator[str, None]:
    frame = Frame(new_id("chatcmpl"), "chat.completion.chunk", answering.served.id)
    readers: dict[int, Reader] = {}
    async with aclosing(answering.pieces()) as pieces:
        async for index, piece in pieces:
            if index not in readers:
                readers[index] = reader(request)
                yield frame.event(_part(index, {"role": "assistant", "content": ""}))
            logprobs = _logprobs(piece.logprobs, answering.served.renderer, request)
            text, calls = readers[index].read(piece.text, piece.finish)
            if text or (logprobs and logprobs.content):
                yield frame.event(_part(index, {"content": text}, logprobs))
            if calls:
                yield frame.event(_part(index, {"tool_calls": [call.model_dump(exclude_unset=True) for call in calls]}))
            if piece.finish:
                yield frame.event(_part(index, {}, finish=readers[index].finish(piece.finish)))
    if request.stream_options and request.stream_options.include_usage:
        yield frame.usage(usage(answering.exchange))


CHAT = Operation("chat", ChatRequest, ask, _whole, _chunks, _body)


def _part(
    index: int, delta: ChatDelta, logprobs: ChatLogprobs | None = None, finish: ChatFinish | None = None
) -> ChatPart:
    told = logprobs.model_dump(exclude_unset=True) if logprobs else None
    return {"index": index, "delta": delta, "logprobs": told, "finish_reason": finish}


def _logprobs(chosen: Sequence[contract.TokenLogprob], renderer: Renderer, request: ChatRequest) -> ChatLogprobs | None:
    if not request.logprobs:
        return None
    return ChatLogprobs(content=[_token(each, renderer, request.top_logprobs or 0) for each in chosen])


def _token(chosen: contract.TokenLogprob, renderer: Renderer, alternatives: int) -> TokenLogprob:
    tops = chosen.top[:alternatives]
    text, *others = renderer.tokens([chosen.id, *(each for each, _ in tops)])
    return TokenLogprob(
        token=text,
        logprob=chosen.logprob,
        bytes=_bytes(text),
        top_logprobs=[
            TopLogprob(token=other, logprob=logprob, bytes=_bytes(other))
            for other, (_, logprob) in zip(others, tops, strict=True)
        ],
    )


def _bytes(token: str) -> list[int] | None:
    """The token's UTF-8 bytes; None for a part of a character, whose bytes its text does not show."""
    return None if "\ufffd" in token else list(token.encode())
