"""What chat and plain completions share: several answers at once, as a stream or whole, ended when the caller goes.

Knows token ids and pieces of answers; the shapes of the two routes are theirs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from pumice.api.metrics import Meter, Metrics
from pumice.api.openai.refusals import Refusal, from_error, unforeseen
from pumice.api.openai.wire import Sampled, Usage
from pumice.api.served import Names, Served
from pumice.engine.answer import Piece, stream
from pumice.engine.contract import CONTEXT, Engine, Sampling, TokenLogprob
from pumice.engine.pool import Pool
from pumice.errors import PumiceError

LOGGER = logging.getLogger(__name__)
DONE = "data: [DONE]\n\n"
SEEDS = 2**32 - 1
"""Engines take 32-bit seeds, and llama.cpp reads the last one as `draw one`."""
T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """What the routes of one server share."""

    names: Names
    pool: Pool
    metrics: Metrics


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted."""

    ids: Sequence[int]
    sampling: Sampling
    stop: tuple[str, ...] = ()
    json_schema: str | None = None


@dataclass
class Choice:
    """An answer as far as it has come."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.ids += piece.ids
        self.logprobs += piece.logprobs
        self.finish = piece.finish or self.finish


@dataclass(frozen=True)
class Wanted:
    """What the two routes say in words of their own."""

    param: str
    """The field that holds the prompt."""
    max_tokens: int | None
    """None: as many as the window leaves."""
    logprobs: int
    """Alternatives to report a token; 0 reports none."""
    json_schema: str | None = None


def asks(request: Sampled, served: Served, ids: Sequence[int], wanted: Wanted) -> list[Ask]:
    """The `n` answers to one prompt. Refuses a prompt that leaves no room for them."""
    most = min(served.base.window, CONTEXT)
    room = most - len(ids)
    if room < 1:
        raise Refusal(
            400,
            f"This model's maximum context length is {most:,} tokens; the prompt has {len(ids):,}. "
            "Shorten it: at least one token must be left for the answer.",
            param=wanted.param,
            code="context_length_exceeded",
        )
    seeds = [None if request.seed is None else (request.seed + index) % SEEDS for index in range(request.n or 1)]
    sampling = Sampling(
        max_tokens=min(wanted.max_tokens or room, room),
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        logprobs=wanted.logprobs,
    )
    stop = tuple(request.stop or ())
    return [Ask(ids, replace(sampling, seed=seed), stop, wanted.json_schema) for seed in seeds]


@dataclass(frozen=True)
class Answering:
    """One request under way: who answers, what was asked, what it took."""

    operation: Literal["chat", "text_completion"]
    service: Service
    served: Served
    engine: Engine
    asked: Sequence[Ask]
    answers_a_prompt: int
    meter: Meter

    async def pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        """The pieces of all answers as they come, each with its answer's index. Leaving early cancels them all."""
        queue: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue()
        tasks = [asyncio.create_task(self._one(index, ask, queue)) for index, ask in enumerate(self.asked)]
        try:
            with self.service.metrics.generation(self.operation, self.served.id, self.prompt_tokens, self.meter):
                left = len(tasks)
                while left:
                    index, piece = await queue.get()
                    if piece is None:
                        await tasks[index]
                        left -= 1
                    else:
                        self.meter.tokens(len(piece.ids))
                        yield index, piece
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def whole(self) -> list[Choice]:
        """All answers, complete."""
        choices = [Choice() for _ in self.asked]
        async with aclosing(self.pieces()) as coming:
            async for index, piece in coming:
                choices[index].add(piece)
        return choices

    @property
    def prompt_tokens(self) -> int:
        """Prompts count once however many answers they get, as OpenAI counts."""
        return sum(len(ask.ids) for ask in self.asked[:: self.answers_a_prompt])

    def usage(self) -> Usage:
        """The tokens so far."""
        made = self.meter.generated
        return Usage(prompt_tokens=self.prompt_tokens, completion_tokens=made, total_tokens=self.prompt_tokens + made)

    async def _one(self, index: int, ask: Ask, queue: asyncio.Queue[tuple[int, Piece | None]]) -> None:
        adapter = self.served.adapter.id if self.served.adapter else None
        answer = stream(self.engine, self.served.renderer, ask.ids, ask.sampling, adapter, ask.stop, ask.json_schema)
        try:
            async for piece in answer:
                queue.put_nowait((index, piece))
        finally:
            queue.put_nowait((index, None))


async def begin(
    service: Service,
    operation: Literal["chat", "text_completion"],
    request: Sampled,
    ask: Callable[[Served], list[Ask]],
) -> Answering:
    """Find the model, render with it, and have its engine ready; what blocks happens in a thread."""
    meter = Meter()

    def prepare() -> tuple[Served, list[Ask]]:
        served = service.names.find(request.model)
        return served, ask(served)

    served, asked = await asyncio.to_thread(prepare)
    engine = await served.ready(service.pool)
    if any(each.json_schema for each in asked) and "json_schema" not in engine.capabilities.constraints:
        raise Refusal(
            400,
            f"{served.id} runs on the {engine.capabilities.name} engine, which cannot hold an answer to a JSON schema.",
            param="response_format",
            code="unsupported_parameter",
        )
    return Answering(operation, service, served, engine, asked, request.n or 1, meter)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the caller hangs up first."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(499, "The caller hung up.")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def event(data: BaseModel) -> str:
    """One server-sent event; fields that were not set are left out, as OpenAI leaves them out of its chunks."""
    return f"data: {data.model_dump_json(exclude_unset=True)}\n\n"


async def server_sent(request: Request, events: AsyncGenerator[str, None]) -> StreamingResponse:
    """Stream `events`. The first is awaited before the response starts: an early failure has its HTTP status."""
    first = await unless_gone(request, anext(events))

    async def body() -> AsyncIterator[str]:
        async with aclosing(events):
            yield first
            try:
                async for each in events:
                    yield each
                yield DONE
            except PumiceError as error:
                yield _failed(from_error(error))
            except Exception:
                LOGGER.exception("request %s failed while it streamed", request.scope["request_id"])
                yield _failed(unforeseen(request.scope["request_id"]))

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _failed(refusal: Refusal) -> str:
    return f"data: {json.dumps(refusal.body())}\n\n"


def new_id(prefix: str) -> str:
    """A response's id."""
    return f"{prefix}-{uuid.uuid4().hex}"
