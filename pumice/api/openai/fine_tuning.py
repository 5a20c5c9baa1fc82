"""`/fine_tuning/jobs`: make, list, watch, pause, resume and cancel jobs. Knows no words for them: `tuning` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from pumice.api.openai.events import event as server_event
from pumice.api.openai.events import server_sent
from pumice.api.openai.paging import Limit, Listed, cut, listed
from pumice.api.openai.tuning import PREFIX, Tuning, event_of
from pumice.api.openai.tuning_wire import Checkpoint, FineTuningJob, JobEvent, JobRequest
from pumice.api.platform import Platform
from pumice.api.training import follow
from pumice.records import Job


@dataclass(frozen=True)
class _Row:
    """A job under this wire's id."""

    id: str
    job: Job


def router(platform: Platform) -> APIRouter:
    """The eight routes."""
    routes = APIRouter(prefix="/fine_tuning/jobs")
    tuning = Tuning(platform)

    @routes.post("")
    async def create(request: JobRequest) -> FineTuningJob:
        """Train a model on an uploaded file."""
        return await asyncio.to_thread(tuning.create, request)

    @routes.get("")
    async def list_jobs(http: Request, after: str | None = None, limit: Limit = 20) -> Listed[FineTuningJob]:
        """Every job that trains, the newest first; `metadata[key]=value` leaves only those that have it."""
        wanted = {
            key.removeprefix("metadata[").removesuffix("]"): value
            for key, value in http.query_params.items()
            if key.startswith("metadata[") and key.endswith("]")
        }

        def find() -> Listed[FineTuningJob]:
            rows = [_Row(PREFIX + job.id, job) for job in tuning.list() if tuning.has(job, wanted)]
            page, more = cut(rows, after, limit)
            return listed([tuning.show(row.job) for row in page], more)

        return await asyncio.to_thread(find)

    @routes.get("/{job_id}")
    async def get_job(job_id: str) -> FineTuningJob:
        """One job as it stands."""
        return await asyncio.to_thread(lambda: tuning.show(tuning.get(job_id)))

    @routes.post("/{job_id}/cancel")
    async def cancel(job_id: str) -> FineTuningJob:
        """End a job for good."""
        return await asyncio.to_thread(lambda: tuning.cancel(tuning.get(job_id)))

    @routes.post("/{job_id}/pause")
    async def pause(job_id: str) -> FineTuningJob:
        """Have a job write a checkpoint and wait."""
        return await asyncio.to_thread(lambda: tuning.pause(tuning.get(job_id)))

    @routes.post("/{job_id}/resume")
    async def resume(job_id: str) -> FineTuningJob:
        """Let a paused job go on."""
        return await asyncio.to_thread(lambda: tuning.resume(tuning.get(job_id)))

    @routes.get("/{job_id}/events", response_model=Listed[JobEvent])
    async def list_events(
        http: Request,
        job_id: str,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
        stream: bool = False,
    ) -> Listed[JobEvent] | StreamingResponse:
        """What a job has told, the newest first; with `stream`, all of it from the start, as it comes."""
        job = await asyncio.to_thread(tuning.get, job_id)
        if stream:
            return await server_sent(http, _told(platform, job))
        events = await asyncio.to_thread(tuning.events, job)
        page, more = cut(events, after, limit)
        return listed(list(page), more)

    @routes.get("/{job_id}/checkpoints")
    async def list_checkpoints(job_id: str, after: str | None = None, limit: Limit = 10) -> Listed[Checkpoint]:
        """The weights of a job that answer."""
        page, more = cut(await asyncio.to_thread(lambda: tuning.checkpoints(tuning.get(job_id))), after, limit)
        return listed(list(page), more)

    return routes


async def _told(platform: Platform, job: Job) -> AsyncGenerator[str, None]:
    async with aclosing(follow(platform, job.id)) as events:
        async for number, each in events:
            yield server_event(event_of(job.id, number, each))
