"""`POST /chat/completions`. The ids that an engine gets are `Renderer.prompt`'s, and nothing else's."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from pumice.api.exchange import Exchange
from pumice.api.generation import Answering, Choice, begin, unless_gone
from pumice.api.openai.events import Wanted, asks, event, new_id, server_sent, usage
from pumice.api.openai.wire import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatLogprobs,
    ChatMessage,
    ChatRequest,
    Message,
    ResponseFormat,
    TokenLogprob,
    TopLogprob,
)
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.data.render import Renderer
from pumice.engine import contract
from pumice.engine.answer import Ask
from pumice.records import Turn


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter()

    @routes.post("/chat/completions", response_model=ChatCompletion)
    async def chat(request: ChatRequest, http: Request) -> ChatCompletion | StreamingResponse:
        """Answer a conversation, whole or as server-sent events."""
        exchange = Exchange.of(http.scope)
        exchange.operation, exchange.asked = "chat", request.model
        find, ask = partial(platform.names.find, request.model), partial(_ask, request)
        answering = await unless_gone(http, begin(platform, exchange, find, ask, request.n or 1))
        if request.stream:
            return await server_sent(http, _chunks(answering, request))
        choices = await unless_gone(http, answering.whole())
        return ChatCompletion(
            id=new_id("chatcmpl"),
            created=int(time.time()),
            model=answering.served.id,
            choices=[_choice(index, choice, answering, request) for index, choice in enumerate(choices)],
            usage=usage(answering.exchange),
        )

    return routes


def _ask(request: ChatRequest, served: Served) -> list[Ask]:
    turns: list[Turn] = [{"role": _role(message), "content": message.content} for message in request.messages]
    ids = served.renderer.prompt(turns)
    # The engine reports the chosen token only among alternatives, so at least one is asked for.
    logprobs = max(1, request.top_logprobs or 0) if request.logprobs else 0
    most = request.max_completion_tokens or request.max_tokens
    return asks(request, served, ids, Wanted("messages", most, logprobs, _schema(request.response_format)))


def _role(message: Message) -> Literal["system", "user", "assistant"]:
    return "system" if message.role == "developer" else message.role


def _schema(form: ResponseFormat | None) -> contract.Constraint | None:
    if form is None or form.type == "text":
        return None
    schema = form.json_schema.schema_ if form.json_schema else {"type": "object"}
    return contract.Constraint("json_schema", json.dumps(schema))


def _choice(index: int, choice: Choice, answering: Answering, request: ChatRequest) -> ChatChoice:
    assert choice.finish, "an answer that is whole has ended"
    return ChatChoice(
        index=index,
        message=ChatMessage(content=choice.text),
        logprobs=_logprobs(choice.logprobs, answering.served.renderer, request),
        finish_reason=choice.finish,
    )


async def _chunks(answering: Answering, request: ChatRequest) -> AsyncGenerator[str, None]:
    frame = ChatChunk(
        id=new_id("chatcmpl"),
        object="chat.completion.chunk",
        created=int(time.time()),
        model=answering.served.id,
        choices=[],
    )
    begun: set[int] = set()
    async with aclosing(answering.pieces()) as pieces:
        async for index, piece in pieces:
            if index not in begun:
                begun.add(index)
                yield event(_chunk(frame, index, ChatDelta(role="assistant", content="")))
            logprobs = _logprobs(piece.logprobs, answering.served.renderer, request)
            if piece.text or (logprobs and logprobs.content):
                yield event(_chunk(frame, index, ChatDelta(content=piece.text), logprobs))
            if piece.finish:
                yield event(_chunk(frame, index, ChatDelta(), finish=piece.finish))
    if request.stream_options and request.stream_options.include_usage:
        yield event(frame.model_copy(update={"usage": usage(answering.exchange)}))


def _chunk(
    frame: ChatChunk,
    index: int,
    delta: ChatDelta,
    logprobs: ChatLogprobs | None = None,
    finish: Literal["stop", "length"] | None = None,
) -> ChatChunk:
    choice = ChatChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=finish)
    return frame.model_copy(update={"choices": [choice]})


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
