"""A child process that is there when it is needed: started for the first request, again after a crash, ended when idle.

Knows neither what the process does nor who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pumice.engine.child import Child
from pumice.errors import UnavailableError


class Keeper:
    """Keeps one child at a time for one event loop."""

    def __init__(self, title: str, start: Callable[[], Awaitable[Child]], idle: float | None) -> None:
        """`start` makes the child; it is ended when nobody has used it for `idle` seconds, or never."""
        self.child: Child | None = None
        """The one that was started last."""
        self._title, self._start, self._idle = title, start, idle
        self._users = 0
        self._lock = asyncio.Lock()
        self._alarm: asyncio.TimerHandle | None = None
        self._nap: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def alive(self) -> bool:
        """Whether a process runs."""
        return self.child is not None and self.child.alive

    async def open(self) -> None:
        """Start the child, so that what hinders it is told now."""
        async with self.use():
            pass

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Child]:
        """The running child, which is not ended for idleness in the block. Raises UnavailableError when none starts."""
        self._users += 1
        if self._alarm:
            self._alarm.cancel()
        try:
            async with self._lock:
                if self.child is None or not self.child.alive:
                    await self._replace()
                child = self.child
            assert child is not None
            yield child
        finally:
            self._users -= 1
            if not self._users and self._idle is not None and not self._stopped:
                self._alarm = asyncio.get_running_loop().call_later(self._idle, self._fall_asleep)

    async def renew(self) -> Child:
        """Another child in place of the one that runs, which ends. If it does not start, the old one stays."""
        async with self._lock:
            await self._replace()
            assert self.child is not None
            return self.child

    async def stop(self) -> None:
        """End it for good; idempotent. Whoever uses it then gets an UnavailableError."""
        self._stopped = True
        if self._alarm:
            self._alarm.cancel()
        child = self.child
        if child:
            # Without the lock: a start that hangs must not hold up the end of the one that runs.
            await child.stop()
        async with self._lock:
            if self.child and self.child is not child:
                await self.child.stop()
            self.child = None

    async def _replace(self) -> None:
        if self._stopped:
            raise UnavailableError(f"{self._title} was stopped.")
        fresh = await self._start()
        old, self.child = self.child, fresh
        if old:
            await old.stop()

    def _fall_asleep(self) -> None:
        self._nap = asyncio.create_task(self._end_if_idle())

    async def _end_if_idle(self) -> None:
        async with self._lock:
            if not self._users and self.child:
                child, self.child = self.child, None
                await child.stop()
