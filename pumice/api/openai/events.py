"""What chat and plain completions share on OpenAI's wire: the sampling fields, `n` answers, server-sent events."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import orjson
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from pumice.api.exchange import Exchange
from pumice.api.generation import Answering, begin, room, unless_gone
from pumice.api.openai.refusals import Refusal, from_error, unforeseen
from pumice.api.openai.wire import Sampled, Usage
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.engine.answer import Ask
from pumice.engine.contract import Constraint, Sampling
from pumice.errors import PumiceError


class Generates(Protocol):
    """What every request for answers says."""

    @property
    def model(self) -> str: ...
    @property
    def n(self) -> int | None: ...
    @property
    def stream(self) -> bool | None: ...


R = TypeVar("R", bound=Generates)

LOGGER = logging.getLogger(__name__)
DONE = "data: [DONE]\n\n"
SEEDS = 2**32 - 1
"""Engines take 32-bit seeds, and llama.cpp reads the last one as `draw one`."""


@dataclass(frozen=True)
class Wanted:
    """What the two routes say in words of their own."""

    param: str
    """The field that holds the prompt."""
    max_tokens: int | None
    """None: as many as the window leaves."""
    logprobs: int
    """Alternatives to report a token; 0 reports none."""
    constraint: Constraint | None = None


def asks(request: Sampled, served: Served, ids: Sequence[int], wanted: Wanted) -> list[Ask]:
    """The `n` answers to one prompt. Raises `RequestError` for a prompt that leaves no room for them."""
    # A prompt that is only read may fill the window.
    most = 0 if wanted.max_tokens == 0 else room(served, ids, wanted.param)
    seeds = [None if request.seed is None else (request.seed + index) % SEEDS for index in range(request.n or 1)]
    sampling = Sampling(
        max_tokens=most if wanted.max_tokens is None else min(wanted.max_tokens, most),
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        logprobs=wanted.logprobs,
    )
    stop = tuple(request.stop or ())
    return [Ask(ids, replace(sampling, seed=seed), stop=stop, constraint=wanted.constraint) for seed in seeds]


@dataclass(frozen=True)
class Operation(Generic[R]):
    """A way to generate: what its route does, and a line of a batch."""

    name: str
    """What the log and the counters call it."""
    request: type[R]
    ask: Callable[[R, Served], list[Ask]]
    whole: Callable[[Answering, R], Awaitable[BaseModel]]
    chunks: Callable[[Answering, R], AsyncGenerator[str, None]]
    body: Callable[[Answering, R], BaseModel]
    """What has come of a stream so far, in the form of a whole answer."""
    end: str = DONE
    """What ends a stream."""

    async def begin(self, platform: Platform, exchange: Exchange, request: R) -> Answering:
        """Find the model and make it ready. Raises as `generation.begin` does."""
        exchange.operation, exchange.asked = self.name, request.model
        find, ask = partial(platform.names.find, request.model), partial(self.ask, request)
        return await begin(platform, exchange, find, ask, request.n or 1)

    async def answer(self, platform: Platform, exchange: Exchange, request: R) -> BaseModel:
        """The whole answer."""
        body = await self.whole(await self.begin(platform, exchange, request), request)
        keep(platform, exchange, body)
        return body

    async def respond(self, platform: Platform, request: R, http: Request) -> BaseModel | StreamingResponse:
        """The answer, whole or as server-sent events, unless the caller hangs up."""
        exchange = Exchange.of(http.scope)
        exchange.request = await http.json()
        if not request.stream:
            return await unless_gone(http, self.answer(platform, exchange, request))
        answering = await unless_gone(http, self.begin(platform, exchange, request))
        return await server_sent(http, self._events(answering, request), self.end)

    async def _events(self, answering: Answering, request: R) -> AsyncGenerator[str, None]:
        try:
            async with aclosing(self.chunks(answering, request)) as chunks:
                async for each in chunks:
                    yield each
        finally:
            if answering.platform.log_bodies:
                keep(answering.platform, answering.exchange, self.body(answering, request))


def keep(platform: Platform, exchange: Exchange, body: BaseModel) -> None:
    """Have the log keep an answer, where it keeps bodies."""
    if platform.log_bodies:
        exchange.response = body.model_dump(mode="json")


def usage(exchange: Exchange) -> Usage:
    """The tokens so far."""
    asked, made = exchange.input_tokens, exchange.output_tokens
    return Usage(prompt_tokens=asked, completion_tokens=made, total_tokens=asked + made)


def event(data: BaseModel) -> str:
    """One server-sent event; fields that were not set are left out, as OpenAI leaves them out of its chunks."""
    return f"data: {data.model_dump_json(exclude_unset=True)}\n\n"


class Frame:
    """What all events of one answer have in common, written once: a token costs the JSON of its own choice alone."""

    def __init__(self, id: str, object: str, model: str) -> None:
        common = {"id": id, "object": object, "created": int(time.time()), "model": model}
        self._head = f'data: {orjson.dumps(common).decode()[:-1]},"choices":['

    def event(self, choice: Mapping[str, Any]) -> str:
        """The event of one choice."""
        return f"{self._head}{orjson.dumps(choice).decode()}]}}\n\n"

    def usage(self, usage: Usage) -> str:
        """The event that counts the tokens, which has no choice."""
        return f'{self._head}],"usage":{usage.model_dump_json()}}}\n\n'


async def server_sent(request: Request, events: AsyncGenerator[str, None], end: str = DONE) -> StreamingResponse:
    """Stream `events`. The first is awaited before the response starts: an early failure has its HTTP status."""
    first = await unless_gone(request, anext(events))

    async def body() -> AsyncIterator[str]:
        async with aclosing(events):
            yield first
            try:
                async for each in events:
                    yield each
                yield end
            except PumiceError as error:
                yield _failed(from_error(error))
            except Exception:
                LOGGER.exception("request %s failed while it streamed", Exchange.of(request.scope).id)
                yield _failed(unforeseen(Exchange.of(request.scope).id))

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _failed(refusal: Refusal) -> str:
    return f"data: {json.dumps(refusal.body())}\n\n"


def new_id(prefix: str) -> str:
    """A response's id."""
    return f"{prefix}-{uuid.uuid4().hex}"
