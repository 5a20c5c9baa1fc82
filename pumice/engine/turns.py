"""Whose turn it is: requests that can share a step run together, then the next ones. Knows no process and no adapter.

llama.cpp steps only those requests together that have the same adapter, and lets all others wait for the first to end.
Mixed, they would wait all the same, in an order that nobody chose.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PATIENCE = 1.0
"""Seconds that a request waits before a turn of others takes in no more of theirs."""


@dataclass(eq=False)
class _Ticket:
    kind: Hashable
    since: float
    called: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """A queue in front of an engine that answers at most `seats` requests at once, all of one kind."""

    def __init__(self, seats: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seats, self._clock = seats, clock
        self._kind: Hashable = None
        self._seated = 0
        self._waiting: list[_Ticket] = []

    @property
    def running(self) -> int:
        """Requests that have a seat."""
        return self._seated

    def waiting(self) -> list[Hashable]:
        """The kinds that wait, the one whose turn is next first."""
        return list(dict.fromkeys(ticket.kind for ticket in self._waiting))

    @asynccontextmanager
    async def seat(self, kind: Hashable) -> AsyncIterator[None]:
        """Wait for a seat in a turn of `kind`; it is given back at the end. Who waits longest is next."""
        ticket = _Ticket(kind, self._clock())
        self._waiting.append(ticket)
        self._call()
        try:
            await ticket.called
            yield
        finally:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            else:
                self._seated -= 1
            self._call()

    def _call(self) -> None:
        """Give seats to all whose turn it is."""
        if not self._waiting:
            return
        fresh = not self._seated
        if fresh:
            self._kind = self._waiting[0].kind
        # A turn that goes on ends once others have waited for long: nobody is seated any more, and the last one leaves.
        if not fresh and self._waited(self._kind) > PATIENCE:
            return
        next_ones = [each for each in self._waiting if each.kind == self._kind and not each.called.done()]
        for ticket in next_ones[: self._seats - self._seated]:
            self._waiting.remove(ticket)
            self._seated += 1
            ticket.called.set_result(None)

    def _waited(self, kind: Hashable) -> float:
        """Seconds that the first of another kind has waited."""
        return next((self._clock() - each.since for each in self._waiting if each.kind != kind), 0.0)
