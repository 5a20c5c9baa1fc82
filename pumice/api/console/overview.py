"""`/api/overview`: what runs, what waits, what is served, and what went wrong last."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel

from pumice.api.console.shown import ShownJob
from pumice.api.openai.stored import Files
from pumice.api.platform import Platform
from pumice.engine.contract import Stats
from pumice.records import JobState
from pumice.traffic import curves
from pumice.traffic.curves import curve

TROUBLES = 5
MINUTE = timedelta(minutes=1)


class Served(BaseModel):
    """One engine that runs."""

    model: str
    engine: str
    memory_bytes: int
    answering: int
    """Answers under way."""
    adapters: list[str]


class Trouble(BaseModel):
    """Something that went wrong."""

    at: datetime
    what: str
    job: str | None = None
    request: str | None = None


class Overview(BaseModel):
    """The home at one moment."""

    running: list[ShownJob]
    waiting: list[ShownJob]
    served: list[Served]
    tokens_per_second: float
    """Of answers, over the last minute."""
    requests_last_hour: int
    errors_last_hour: int
    files: int
    models: int
    jobs: int
    troubles: list[Trouble]


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter(prefix="/overview", tags=["overview"])

    @routes.get("")
    async def overview() -> Overview:
        """What a person wants to know first."""
        engines = await platform.pool.stats()
        return await asyncio.to_thread(_overview, platform, engines)

    return routes


def _overview(platform: Platform, engines: list[tuple[Path, str, Stats]]) -> Overview:
    jobs, now = platform.queue.list(), datetime.now(UTC)
    last = curve(platform.database, now - MINUTE, now, MINUTE)[0]
    hour = curve(platform.database, now - 60 * MINUTE, now, 60 * MINUTE)[0]

    def shown(state: JobState) -> list[ShownJob]:
        return [ShownJob.model_validate(job) for job in jobs if job.state is state]

    failed = [
        Trouble(at=job.ended or job.created, what=job.error or "It failed.", job=job.id)
        for job in jobs
        if job.state in (JobState.FAILED, JobState.INTERRUPTED)
    ]
    refused = [
        Trouble(at=each.at, what=f"{each.operation}{asked}: {each.status}", request=each.id)
        for each in curves.failed(platform.database, TROUBLES)
        for asked in [f" of {each.asked}" if each.asked else ""]
    ]
    return Overview(
        running=shown(JobState.RUNNING),
        waiting=shown(JobState.QUEUED),
        served=[
            Served(
                model=folder.name if folder.parent.name == "bases" else "@".join(folder.parts[-2:]),
                engine=engine,
                memory_bytes=stats.rss_bytes,
                answering=stats.running,
                adapters=list(stats.adapters),
            )
            for folder, engine, stats in engines
        ],
        tokens_per_second=last.output_tokens / MINUTE.total_seconds(),
        requests_last_hour=hour.requests,
        errors_last_hour=hour.errors,
        files=len(Files(platform.home, platform.documents).list()),
        models=len(platform.registry.list()),
        jobs=len(jobs),
        troubles=sorted([*failed, *refused], key=lambda each: each.at, reverse=True)[:TROUBLES],
    )
