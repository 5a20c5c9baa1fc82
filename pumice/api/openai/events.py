"""What chat and plain completions share on OpenAI's wire: the sampling fields, `n` answers, server-sent events."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from pumice.api.exchange import Exchange
from pumice.api.generation import room, unless_gone
from pumice.api.openai.refusals import Refusal, from_error, unforeseen
from pumice.api.openai.wire import Sampled, Usage
from pumice.api.served import Served
from pumice.engine.answer import Ask
from pumice.engine.contract import Constraint, Sampling
from pumice.errors import PumiceError

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
    most = room(served, ids, wanted.param)
    seeds = [None if request.seed is None else (request.seed + index) % SEEDS for index in range(request.n or 1)]
    sampling = Sampling(
        max_tokens=min(wanted.max_tokens or most, most),
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        logprobs=wanted.logprobs,
    )
    stop = tuple(request.stop or ())
    return [Ask(ids, replace(sampling, seed=seed), stop=stop, constraint=wanted.constraint) for seed in seeds]


def usage(exchange: Exchange) -> Usage:
    """The tokens so far."""
    asked, made = exchange.input_tokens, exchange.output_tokens
    return Usage(prompt_tokens=asked, completion_tokens=made, total_tokens=asked + made)


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
                LOGGER.exception("request %s failed while it streamed", Exchange.of(request.scope).id)
                yield _failed(unforeseen(Exchange.of(request.scope).id))

    return StreamingResponse(body(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


def _failed(refusal: Refusal) -> str:
    return f"data: {json.dumps(refusal.body())}\n\n"


def new_id(prefix: str) -> str:
    """A response's id."""
    return f"{prefix}-{uuid.uuid4().hex}"
