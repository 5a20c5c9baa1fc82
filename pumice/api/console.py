"""`/api`: what a console shows, the jobs of every wire, the request log, the keys. Knows no wire's words for them.

Everything here only reads. Who may is decided at the gate: `train` and `admin`, and `admin` alone for keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from pumice.api.identity import Identity
from pumice.api.openai.events import DONE, event
from pumice.api.openai.paging import Limit, Listed, cut, listed
from pumice.api.openai.refusals import Refusal
from pumice.api.platform import Platform
from pumice.api.training import follow
from pumice.errors import NotFoundError
from pumice.records import Job, JobState, Role


class Row(BaseModel):
    """What is read off a record's attributes."""

    model_config = ConfigDict(from_attributes=True)


class ShownJob(Row):
    """One job, whichever wire or command made it."""

    id: str
    task: str
    state: JobState
    created: datetime
    started: datetime | None
    ended: datetime | None
    model: str | None
    """`name@version`, once there is one."""
    error: str | None
    spec: dict[str, Any]
    """Its recipe."""


class ShownEvent(BaseModel):
    """One thing that a job has told."""

    number: int
    at: datetime | None
    kind: str
    data: dict[str, Any]


class ShownRequest(Row):
    """One request of the log, newest first."""

    id: str
    at: datetime
    key: str | None
    """The id of the caller's key."""
    operation: str
    asked: str
    """The model as the caller named it."""
    model: str
    """What answered, "" when nothing did."""
    variant: str | None
    status: int
    input_tokens: int
    output_tokens: int
    first_token_seconds: float | None
    seconds: float
    request: Any = None
    """The bodies, where `PUMICE_LOG_BODIES=1` was set when it came."""
    response: Any = None


class ShownKey(Row):
    """One key; its secrets cannot be had again."""

    id: str
    name: str
    role: Role
    created: datetime
    revoked: datetime | None
    access_key: str | None
    requests_per_minute: int | None
    tokens_per_day: int | None


def router(platform: Platform, keys: Identity) -> APIRouter:
    """The five routes."""
    routes = APIRouter(prefix="/api")

    @routes.get("/jobs")
    async def list_jobs(state: JobState | None = None, after: str | None = None, limit: Limit = 20) -> Listed[ShownJob]:
        """Every job, the newest first."""
        found = await asyncio.to_thread(platform.queue.list)
        page, more = cut([job for job in found if state in (None, job.state)], after, limit)
        return listed([ShownJob.model_validate(job) for job in page], more)

    @routes.get("/jobs/{job_id}")
    async def get_job(job_id: str) -> ShownJob:
        """One job as it stands."""
        return ShownJob.model_validate(await asyncio.to_thread(_job, platform, job_id))

    @routes.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses={200: EVENTS})
    async def watch(job_id: str, seen: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
        """What a job has told from event number `seen` on, and what it tells until it has ended; server-sent events."""
        await asyncio.to_thread(_job, platform, job_id)
        headers = {"Cache-Control": "no-cache"}
        return StreamingResponse(_told(platform, job_id, seen), media_type="text/event-stream", headers=headers)

    @routes.get("/requests")
    async def list_requests(
        model: str | None = None,
        key: str | None = None,
        status: int | None = None,
        contains: str | None = None,
        before: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> Listed[ShownRequest]:
        """What was asked, the newest first. `before` is the last id of the page before, `contains` is for bodies."""
        found = await asyncio.to_thread(platform.log.find, limit + 1, before, model, key, status, contains)
        return listed([ShownRequest.model_validate(each) for each in found[:limit]], len(found) > limit)

    @routes.get("/keys")
    async def list_keys() -> Listed[ShownKey]:
        """Every key, revoked ones too, the oldest first."""
        return listed([ShownKey.model_validate(key) for key in await asyncio.to_thread(keys.list)], False)

    return routes


EVENTS: dict[str, Any] = {
    "description": "Events as they come, each `data:` a JSON object, `[DONE]` at the end.",
    "content": {"text/event-stream": {"schema": ShownEvent.model_json_schema()}},
}


def _job(platform: Platform, id: str) -> Job:
    try:
        return platform.queue.get(id)
    except NotFoundError as error:
        raise Refusal(404, " ".join(str(error).splitlines()), param="job_id", code="job_not_found") from error


async def _told(platform: Platform, job_id: str, seen: int) -> AsyncGenerator[str, None]:
    async with aclosing(follow(platform, job_id, seen)) as events:
        async for number, each in events:
            yield event(ShownEvent(number=number, at=each.at, kind=each.kind, data=dict(each.data)))
    yield DONE
