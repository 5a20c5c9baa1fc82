"""What the routes of one server share. Knows no wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy

from pumice.api.exchange import Exchange
from pumice.api.metrics import Metrics
from pumice.api.served import Names
from pumice.config import Home
from pumice.engine.pool import Pool
from pumice.jobs.queue import Queue
from pumice.registry.models import Registry
from pumice.store.documents import Documents


@dataclass(frozen=True)
class Platform:
    """The rooms under every wire, opened once for one home."""

    home: Home
    database: sqlalchemy.Engine
    registry: Registry
    queue: Queue
    documents: Documents
    names: Names
    pool: Pool
    metrics: Metrics

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What runs beside the requests, until the server ends."""
        try:
            yield
        finally:
            await self.pool.stop()

    def nudge(self) -> None:
        """Have the dispatcher look at the jobs now."""

    def answered(self, exchange: Exchange, route: str, method: str, status: int) -> None:
        """Count a request that has ended."""
        self.metrics.answered(route, method, status)


def open_platform(home: Home, database: sqlalchemy.Engine) -> Platform:
    """Open the rooms. Engines start when first asked for; whoever opens a platform stops its pool."""
    registry = Registry(database, home)
    return Platform(
        home=home,
        database=database,
        registry=registry,
        queue=Queue(database, home),
        documents=Documents(database),
        names=Names(registry, home),
        pool=Pool(home.cache),
        metrics=Metrics(),
    )
