"""What runs beside the requests, until it is done or the server ends. Knows nothing of what it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from pumice.api.exchange import Exchange
from pumice.records import Job

LOGGER = logging.getLogger(__name__)


class Part:
    """A part of a server that lives as long as it; a wire adds its own to `Platform.parts`."""

    async def start(self) -> None:
        """Called once, before the first request."""

    def answered(self, exchange: Exchange, status: int) -> None:
        """Told of every request at its end; must not wait."""

    def ended(self, job: Job) -> None:
        """Told, in a thread, of every job of a server at its end; may be told twice."""

    async def stop(self) -> None:
        """Called once, after the last request."""


class Tasks:
    """Keeps what it started alive, and logs what fails."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` from now on; `name` must not be that of one under way."""
        assert name not in self._running, f"{name} runs already"
        task = self._running[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)

    def runs(self, name: str) -> bool:
        """Whether the task of this name is under way."""
        return name in self._running

    async def cancel(self, name: str) -> None:
        """End one, if it runs, and wait for its end."""
        if task := self._running.get(name):
            task.cancel()
            await asyncio.wait({task})

    async def stop(self) -> None:
        """End them all."""
        for name in list(self._running):
            await self.cancel(name)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task.get_name()]
        if not task.cancelled() and (error := task.exception()):
            LOGGER.error("%s failed", task.get_name(), exc_info=error)
