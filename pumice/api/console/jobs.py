"""`/api/jobs`: the jobs of every wire, their stories, and what can be done to them. Knows no recipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from pumice.api.console.shown import ShownJob, job_of
from pumice.api.openai.events import DONE, event
from pumice.api.openai.paging import Limit, Listed, cut, listed
from pumice.api.openai.refusals import Refusal
from pumice.api.platform import Platform
from pumice.api.training import follow
from pumice.errors import InputError
from pumice.records import Job, JobState

LOG = "log.txt"
MOST_LOG = 200_000
"""Bytes of a log's end that are shown."""


class ShownEvent(BaseModel):
    """One thing that a job has told."""

    number: int
    at: datetime | None
    kind: str
    data: dict[str, Any]


class JobLog(BaseModel):
    """What a job's worker has printed."""

    text: str
    cut: bool
    """Whether only the end is shown."""


EVENTS: dict[str, Any] = {
    "description": "Events as they come, each `data:` a JSON object, `[DONE]` at the end.",
    "content": {"text/event-stream": {"schema": ShownEvent.model_json_schema()}},
}


def router(platform: Platform) -> APIRouter:
    """The six routes."""
    routes = APIRouter(prefix="/jobs", tags=["jobs"])

    @routes.get("")
    async def list_jobs(state: JobState | None = None, after: str | None = None, limit: Limit = 20) -> Listed[ShownJob]:
        """Every job, the newest first."""
        found = await asyncio.to_thread(platform.queue.list)
        page, more = cut([job for job in found if state in (None, job.state)], after, limit)
        return listed([ShownJob.model_validate(job) for job in page], more)

    @routes.get("/{job_id}")
    async def get_job(job_id: str) -> ShownJob:
        """One job as it stands."""
        return ShownJob.model_validate(await asyncio.to_thread(job_of, platform, job_id))

    @routes.get("/{job_id}/events", response_class=StreamingResponse, responses={200: EVENTS})
    async def watch(job_id: str, seen: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
        """What a job has told from event number `seen` on, and what it tells until it has ended; server-sent events."""
        await asyncio.to_thread(job_of, platform, job_id)
        headers = {"Cache-Control": "no-cache"}
        return StreamingResponse(_told(platform, job_id, seen), media_type="text/event-stream", headers=headers)

    @routes.get("/{job_id}/log")
    async def get_log(job_id: str) -> JobLog:
        """What its worker has printed, the end of it."""
        job = await asyncio.to_thread(job_of, platform, job_id)
        return await asyncio.to_thread(_log, platform.queue.folder(job.id) / LOG)

    @routes.post("/{job_id}/stop")
    async def stop(job_id: str) -> ShownJob:
        """Have a job write a checkpoint and end."""
        job = await asyncio.to_thread(job_of, platform, job_id)
        return ShownJob.model_validate(await asyncio.to_thread(platform.queue.stop, job.id))

    @routes.post("/{job_id}/resume")
    async def resume(job_id: str) -> ShownJob:
        """Have a job that ended early go on from its last checkpoint."""
        job = await asyncio.to_thread(job_of, platform, job_id)
        if not job.background:
            sentence = f"Job {job.id} belongs to the terminal that began it. Go on there: pumice jobs resume {job.id}"
            raise Refusal(409, sentence, param="job_id", code="conflict")
        resumed = await asyncio.to_thread(_resume, platform, job)
        platform.nudge()
        return ShownJob.model_validate(resumed)

    return routes


def _resume(platform: Platform, job: Job) -> Job:
    try:
        return platform.queue.resume(job.id)
    except InputError as error:
        raise Refusal(409, " ".join(str(error).splitlines()), param="job_id", code="conflict") from error


def _log(file: Path) -> JobLog:
    if not file.is_file():
        return JobLog(text="", cut=False)
    with file.open("rb") as log:
        size = log.seek(0, 2)
        log.seek(max(0, size - MOST_LOG))
        return JobLog(text=log.read().decode("utf-8", "replace"), cut=size > MOST_LOG)


async def _told(platform: Platform, job_id: str, seen: int) -> AsyncGenerator[str, None]:
    async with aclosing(follow(platform, job_id, seen)) as events:
        async for number, each in events:
            yield event(ShownEvent(number=number, at=each.at, kind=each.kind, data=dict(each.data)))
    yield DONE
