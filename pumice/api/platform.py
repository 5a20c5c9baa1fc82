"""What the routes of one server share. Knows no wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import sqlalchemy

from pumice.api.background import Part
from pumice.api.batches import Batches
from pumice.api.exchange import Exchange
from pumice.api.identity import Identity
from pumice.api.lanes import Lanes
from pumice.api.metrics import Metrics
from pumice.api.served import Names, Served
from pumice.config import Home
from pumice.engine.contract import Engine
from pumice.engine.pool import Pool
from pumice.jobs.dispatch import Dispatcher
from pumice.jobs.launch import Here
from pumice.jobs.queue import Queue
from pumice.records import Job
from pumice.registry.models import Registry
from pumice.store.documents import Documents
from pumice.traffic.log import Log
from pumice.traffic.meter import Meter
from pumice.traffic.retention import Retention

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
    dispatcher: Dispatcher
    log: Log
    retention: Retention
    meter: Meter
    log_bodies: bool = False
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
            # After the lanes: what is promised to them is no room for jobs.
            self.dispatcher.start()
            yield
        finally:
            await asyncio.to_thread(self.dispatcher.close)
            for part in reversed(started):
                await part.stop()
            await self.pool.stop()
            await asyncio.to_thread(self.log.close)

    def part(self, kind: type[P]) -> P:
        """The part of this kind, which its wire has added."""
        return next(part for part in self.parts if isinstance(part, kind))

    async def ready(self, served: Served) -> Engine:
        """The running engine that answers for `served`. Raises `UnavailableError` when it cannot start now."""
        return await (self.lanes.engine(served.lane, served) if served.lane else served.ready(self.pool))

    def nudge(self) -> None:
        """Have the dispatcher look at the jobs now."""
        self.dispatcher.nudge()

    async def measure(self) -> bytes:
        """The metrics as Prometheus reads them, with what every room says of itself now."""
        self.metrics.engines(await self.pool.stats())
        self.metrics.rooms(await asyncio.to_thread(self.queue.count), self.log.waiting, self.log.dropped)
        return self.metrics.text()

    def admit(self, exchange: Exchange) -> None:
        """Charge the caller's key one request, which `Batches` does for its own. Raises `ExhaustedError`."""
        if not exchange.background:
            self.meter.admit(exchange.key)

    def answered(self, exchange: Exchange, route: str, method: str, status: int) -> None:
        """Count, charge and log a request that has ended, however it did."""
        self.metrics.answered(exchange, route, method, status)
        self.meter.spend(exchange.key, exchange.input_tokens + exchange.output_tokens)
        if exchange.operation:
            self.log.add(exchange.record(exchange.outcome(status), self.log_bodies))
        for part in self.parts:
            part.answered(exchange, status)


def open_platform(
    home: Home, database: sqlalchemy.Engine, log_days: int | None = None, log_bodies: bool = False
) -> Platform:
    """Open the rooms. Engines start when first asked for; whoever opens a platform runs it, which ends them too."""
    registry, documents, queue = Registry(database, home), Documents(database), Queue(database, home)
    names, metrics, meter = Names(registry, home), Metrics(), Meter(database)
    retention = Retention(documents, log_days)
    pool = Pool(home.cache, serving=home.serving, favour=True)
    parts: list[Part] = []

    def on_end(job: Job) -> None:
        for part in parts:
            part.ended(job)

    return Platform(
        home=home,
        database=database,
        registry=registry,
        queue=queue,
        documents=documents,
        names=names,
        pool=pool,
        metrics=metrics,
        lanes=Lanes(pool, names, documents),
        batches=Batches(home, documents, metrics, meter, Identity(database, home)),
        dispatcher=Dispatcher(queue, Here(queue), on_end=on_end),
        log=Log(database, timedelta(days=retention.days())),
        retention=retention,
        meter=meter,
        log_bodies=log_bodies,
        parts=parts,
    )
