"""One answer of bedrock-runtime as it comes: text, complete calls of tools, and how it ended. Knows no body.

Whole answers are collected from the same events that streams are made of, so both say the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from pumice.api.aws import targets
from pumice.api.aws.runtime.guard import Guard
from pumice.api.aws.runtime.question import Question, asks
from pumice.api.aws.wire import Call
from pumice.api.exchange import Exchange
from pumice.api.generation import Answering, begin, unless_gone
from pumice.engine import tools

Reason = Literal["end", "length", "stop", "tool", "guardrail"]
"""`end`: the model's own; `stop`: at a stop string."""


@dataclass(frozen=True)
class End:
    """The last event of every answer."""

    reason: Reason
    stop: str | None = None
    """The stop string that ended it."""


Event = str | tools.Call | End


@dataclass(frozen=True)
class Reply:
    """An answer under way."""

    exchange: Exchange
    model: str
    events: AsyncGenerator[Event, None]
    guard: Guard | None = None

    def milliseconds(self) -> int:
        """Since the request began."""
        return round(self.exchange.seconds() * 1000)

    def metrics(self) -> dict[str, Any]:
        """What the last chunk of InvokeModelWithResponseStream says beside the family's own words."""
        first = self.exchange.first_after
        numbers = {
            "inputTokenCount": self.exchange.input_tokens,
            "outputTokenCount": self.exchange.output_tokens,
            "invocationLatency": self.milliseconds(),
            "firstByteLatency": self.milliseconds() if first is None else round(first * 1000),
        }
        return {**self.judged(), "amazon-bedrock-invocationMetrics": numbers}

    def judged(self) -> dict[str, Any]:
        """What InvokeModel says of a guardrail."""
        if self.guard is None:
            return {}
        trace = {"amazon-bedrock-trace": self.guard.trace()["trace"]} if self.guard.traced else {}
        return {"amazon-bedrock-guardrailAction": "INTERVENED" if self.guard.intervened else "NONE", **trace}


@dataclass
class Whole:
    """A complete answer."""

    reply: Reply
    text: str = ""
    calls: list[tools.Call] = field(default_factory=list)
    end: End = End("end")


async def ask(call: Call, model_id: str, question: Question, guard: Guard | None = None) -> Reply:
    """Have the model answer. A guardrail that blocks the question answers it itself.

    The first event is there when this returns, so whatever fails before it has its HTTP status, in streams too.
    """
    call.exchange.asked = model_id
    find = partial(targets.find, call.platform, model_id)
    checked = await asyncio.to_thread(guard.ask, question) if guard else question
    if checked is None:
        assert guard
        served = await asyncio.to_thread(find)
        call.exchange.model = served.id
        return Reply(call.exchange, served.id, _noted(call.exchange, _refused(guard)), guard)
    answering = await unless_gone(
        call.http, begin(call.platform, call.exchange, find, lambda served: asks(checked, served))
    )
    events = _events(answering, checked.tools)
    if guard:
        events = _guarded(guard, events)
    first = await unless_gone(call.http, anext(events))
    return Reply(call.exchange, answering.served.id, _noted(call.exchange, _resumed(first, events)), guard)


async def whole(call: Call, reply: Reply) -> Whole:
    """All of it; a caller who hangs up ends it."""
    return await unless_gone(call.http, _collect(reply))


def streamed(
    call: Call,
    reply: Reply,
    said: AsyncGenerator[dict[str, Any], None],
    wrap: Callable[[dict[str, Any]], Mapping[str, Any]] = dict,
) -> AsyncIterator[Mapping[str, Any]]:
    """The events of a response stream, `said` made of the reply's; a caller who hangs up ends them."""
    kept: list[dict[str, Any]] = []
    call.exchange.response = kept

    async def events() -> AsyncGenerator[Mapping[str, Any], None]:
        async with aclosing(reply.events), aclosing(said):
            async for each in said:
                kept.append(each)
                yield wrap(each)

    return events()


async def _collect(reply: Reply) -> Whole:
    found = Whole(reply)
    async with aclosing(reply.events) as events:
        async for event in events:
            if isinstance(event, str):
                found.text += event
            elif isinstance(event, End):
                found.end = event
            else:
                found.calls.append(event)
    return found


async def _events(answering: Answering, known: Sequence[tools.Tool]) -> AsyncGenerator[Event, None]:
    caller = tools.Caller(known) if known else None
    reason: Reason = "end"
    stop = None
    async with aclosing(answering.pieces()) as pieces:
        async for _, piece in pieces:
            said = caller.push(piece.text) if caller else tools.Said(piece.text)
            if said.text:
                yield said.text
            for made in said.calls:
                yield made
            if piece.finish:
                stop = piece.stop
                reason = "length" if piece.finish == "length" else "stop" if stop is not None else "end"
    if caller:
        if rest := caller.flush(reason == "length").text:
            yield rest
        if caller.calls and reason == "end":
            reason = "tool"
    yield End(reason, stop)


async def _resumed(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    async with aclosing(rest):
        yield first
        async for each in rest:
            yield each


async def _noted(exchange: Exchange, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The same events; their words are joined for the log."""
    exchange.said.text = ""
    async with aclosing(events):
        async for each in events:
            if isinstance(each, str):
                exchange.said.text += each
            yield each


async def _refused(guard: Guard) -> AsyncGenerator[Event, None]:
    yield guard.blocked_input
    yield End("guardrail")


async def _guarded(guard: Guard, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """An answer that the guardrail has seen: held until it is complete, or, `asynchronous`, judged at its end."""
    held: list[Event] = []
    text = ""
    end = End("end")
    async with aclosing(events):
        async for event in events:
            if isinstance(event, End):
                end = event
                break
            text += event if isinstance(event, str) else f"\n{event.arguments}"
            if guard.asynchronous:
                yield event
            else:
                held.append(event)
    checked = await asyncio.to_thread(guard.answer, text)
    calls = [event for event in held if isinstance(event, tools.Call)]
    if checked.blocked:
        if not guard.asynchronous:
            yield guard.blocked_output
        yield End("guardrail")
        return
    if not guard.asynchronous:
        spoken = "".join(event for event in held if isinstance(event, str))
        if shown := (await asyncio.to_thread(guard.masked, spoken)):
            yield shown
        for each in calls:
            yield each
    yield end
