"""What the routes of one server share. Knows no wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy

from pumice.api.background import Part
from pumice.api.batches import Batches
from pumice.api.exchange import Exchange
from pumice.api.lanes import Lanes
from pumice.api.metrics import Metrics
from pumice.api.served import Names, Served
from pumice.config import Home
from pumice.engine.contract import Engine
from pumice.engine.pool import Pool
from pumice.jobs.queue import Queue
from pumice.registry.models import Registry
from pumice.store.documents import Documents

P = TypeVar("P", bound=Part)


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
    lanes: Lanes
    batches: Batches
    parts: list[Part] = field(default_factory=list)
    """What a wire has running beside the requests."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What runs beside the requests, until the server ends."""
        started: list[Part] = []
        try:
            for part in (self.lanes, *self.parts, self.batches):
                await part.start()
                started.append(part)
            yield
        finally:
            for part in reversed(started):
                await part.stop()
            await self.pool.stop()

    def part(self, kind: type[P]) -> P:
        """The part of this kind, which its wire has added."""
        return next(part for part in self.parts if isinstance(part, kind))

    async def ready(self, served: Served) -> Engine:
        """The running engine that answers for `served`. Raises `UnavailableError` when it cannot start now."""
        return await (self.lanes.engine(served.lane, served) if served.lane else served.ready(self.pool))

    def nudge(self) -> None:
        """Have the dispatcher look at the jobs now."""

    def answered(self, exchange: Exchange, route: str, method: str, status: int) -> None:
        """Count a request that has ended."""
        self.metrics.answered(route, method, status)
        for part in self.parts:
            part.answered(exchange, status)


def open_platform(home: Home, database: sqlalchemy.Engine) -> Platform:
    """Open the rooms. Engines start when first asked for; whoever opens a platform stops its pool."""
    registry, documents = Registry(database, home), Documents(database)
    names, pool, metrics = Names(registry, home), Pool(home.cache), Metrics()
    return Platform(
        home=home,
        database=database,
        registry=registry,
        queue=Queue(database, home),
        documents=documents,
        names=names,
        pool=pool,
        metrics=metrics,
        lanes=Lanes(pool, names, documents),
        batches=Batches(home, documents, metrics),
    )
