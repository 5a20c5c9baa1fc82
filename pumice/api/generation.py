"""Answers for every wire: several at once, as a stream or whole, counted, and ended when the caller goes.

Knows token ids and pieces of answers; how a question and an answer look is the wire's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from fastapi import Request

from pumice.api.exchange import Exchange
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.bases.classifiers import check_writes
from pumice.engine.answer import Ask, Piece, stream
from pumice.engine.contract import CONTEXT, Engine, TokenLogprob
from pumice.errors import RequestError, StoppedError

T = TypeVar("T")


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


def room(served: Served, ids: Sequence[int], field: str) -> int:
    """How many tokens an answer to this prompt may have. Raises `RequestError` for a prompt that leaves no room."""
    most = min(served.base.window, CONTEXT)
    if len(ids) >= most:
        raise RequestError(
            f"This model's maximum context length is {most:,} tokens; the prompt has {len(ids):,}.",
            fix="Shorten it: at least one token must be left for the answer.",
            field=field,
            code="context_length_exceeded",
        )
    return most - len(ids)


@dataclass(frozen=True)
class Answering:
    """One request under way: who answers and what was asked."""

    platform: Platform
    exchange: Exchange
    served: Served
    engine: Engine
    asked: Sequence[Ask]
    choices: Sequence[Choice]
    """The answers as far as they have come."""

    async def pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        """The pieces of all answers as they come, each with its answer's index. Leaving early cancels them all."""
        queue: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue()
        tasks = [asyncio.create_task(self._one(index, ask, queue)) for index, ask in enumerate(self.asked)]
        try:
            with self.platform.metrics.generation(self.exchange):
                left = len(tasks)
                while left:
                    index, piece = await queue.get()
                    if piece is None:
                        await tasks[index]
                        left -= 1
                    else:
                        self.exchange.tokens(len(piece.ids))
                        self.exchange.said.finish = piece.finish or self.exchange.said.finish
                        self.choices[index].add(piece)
                        yield index, piece
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def whole(self) -> Sequence[Choice]:
        """All answers, complete."""
        async with aclosing(self.pieces()) as coming:
            async for _ in coming:
                pass
        return self.choices

    async def score(self, ids: Sequence[int], top: int) -> list[TokenLogprob]:
        """Each id but the first with its log-probability, at full precision, and `top` alternatives."""
        engine = await self.platform.pool.scorer(self.served.base.folder)
        adapter = self.served.adapter
        if adapter:
            await engine.load_adapter(adapter.id, adapter.folder)
        return await engine.score(ids, adapter.id if adapter else None, top) if len(ids) > 1 else []

    async def _one(self, index: int, ask: Ask, queue: asyncio.Queue[tuple[int, Piece | None]]) -> None:
        adapter = self.served.adapter.id if self.served.adapter else None
        answer = stream(self.engine, self.served.renderer, replace(ask, adapter=adapter))
        try:
            async for piece in answer:
                queue.put_nowait((index, piece))
        finally:
            queue.put_nowait((index, None))


async def begin(
    platform: Platform,
    exchange: Exchange,
    find: Callable[[], Served],
    ask: Callable[[Served], list[Ask]],
    answers_a_prompt: int = 1,
) -> Answering:
    """Find the model, render with it, and have its engine ready; what blocks happens in a thread.

    Of `answers_a_prompt` asks in a row the prompt counts once, as every provider counts it. Raises `RequestError` for
    a classifier.
    """

    platform.admit(exchange)

    def prepare() -> tuple[Served, list[Ask]]:
        served = find()
        check_writes(served.base, served.id)
        return served, ask(served)

    served, asked = await asyncio.to_thread(prepare)
    exchange.model, exchange.variant = served.id, served.variant
    exchange.input_tokens += sum(len(each.ids) for each in asked[::answers_a_prompt])
    engine = await platform.ready(served)
    wanted = {each.constraint.kind for each in asked if each.constraint}
    if wanted - engine.capabilities.constraints:
        raise RequestError(
            f"{served.id} runs on the {engine.capabilities.name} engine, which cannot hold an answer to a form.",
            field="tools" if "lark" in wanted else "response_format",
            code="unsupported_parameter",
        )
    return Answering(platform, exchange, served, engine, asked, [Choice() for _ in asked])


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the caller hangs up first: then `StoppedError`."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError("The caller hung up.")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
