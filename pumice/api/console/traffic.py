"""What was asked and what comes of it: `/api/requests`, `traffic`, `variants`, `feedback` and `datasets`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Query
from fastapi import Request as Http
from pydantic import BaseModel, Field, model_validator

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker.endpoints import reweigh
from pumice.api.aws.sagemaker.kept import kind_of
from pumice.api.console.shown import Row, who
from pumice.api.openai.paging import Listed, listed
from pumice.api.openai.refusals import Refusal
from pumice.api.openai.stored import FileObject, Files
from pumice.api.platform import Platform
from pumice.records import Request
from pumice.traffic import feedback
from pumice.traffic.curves import Point, curve
from pumice.traffic.feedback import Feedback, Opinion, Rows, Thumb
from pumice.traffic.log import Log

POINTS = 48
"""Of a curve."""
MOST = 10_000
"""Requests that a data set is made of."""
PAGE = 200


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


class Traffic(BaseModel):
    """Curves of the last hours."""

    step_seconds: float
    data: list[Point]


class ShownVariant(BaseModel):
    """One of an endpoint's variants."""

    endpoint: str
    status: str
    variant: str
    model: str
    """What answers, "" where inference components do."""
    weight: float


class Weights(BaseModel):
    """Weights by variant; the others stay as they are."""

    weights: dict[str, Annotated[float, Field(ge=0, le=1_000_000)]]


class Variants(BaseModel):
    """Every variant of every endpoint."""

    data: list[ShownVariant]


class ShownOpinion(Row):
    """What somebody said of one logged answer."""

    request: Annotated[str, Field(min_length=1, max_length=200)]
    thumb: Thumb | None = None
    edit: Annotated[str, Field(max_length=200_000)] | None = None
    """The answer as it should have been."""
    by: str | None = None
    """Set by the server."""


class Opinions(BaseModel):
    """Every opinion."""

    data: list[ShownOpinion]


class Filter(BaseModel):
    """Which requests of the log: those that fit all of it."""

    model: str | None = None
    key: str | None = None
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    variant: str | None = None
    contains: str | None = None


class DatasetRequest(BaseModel):
    """Rows to train on, out of what was asked and said."""

    kind: Rows
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    requests: Annotated[list[str], Field(max_length=MOST)] | None = None
    """Ids of logged requests: these, and no votes."""
    fitting: Filter | None = None
    """The newest ten thousand requests that fit, and no votes. With neither: every vote, and the newest of all."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.requests is not None and self.fitting is not None:
            raise ValueError("requests names them one by one, and fitting by a filter: give one of the two")
        return self


def router(platform: Platform) -> APIRouter:
    """The eight routes."""
    routes, said = APIRouter(tags=["traffic"]), Feedback(platform.documents)

    @routes.get("/requests")
    async def list_requests(
        model: str | None = None,
        key: str | None = None,
        status: Annotated[int, Query(ge=100, le=599)] | None = None,
        variant: str | None = None,
        contains: str | None = None,
        before: str | None = None,
        bodies: bool = True,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> Listed[ShownRequest]:
        """What was asked, the newest first. `before` is the last id of the page before, `contains` is for bodies."""
        wanted = (before, model, key, status, contains, variant, bodies)
        found = await asyncio.to_thread(platform.log.find, limit + 1, *wanted)
        return listed([ShownRequest.model_validate(each) for each in found[:limit]], len(found) > limit)

    @routes.get("/requests/{request_id}")
    async def get_request(request_id: str) -> ShownRequest:
        """One request with its bodies, where they were kept."""
        found = await asyncio.to_thread(platform.log.get, request_id)
        if found is None:
            raise _gone(request_id)
        return ShownRequest.model_validate(found)

    @routes.get("/traffic")
    async def traffic(hours: Annotated[float, Query(ge=0.01, le=24 * 90)] = 24, model: str | None = None) -> Traffic:
        """How many requests, how fast, and how many tokens, in 48 stretches up to now."""
        end, step = datetime.now(UTC), timedelta(hours=hours) / POINTS
        points = await asyncio.to_thread(curve, platform.database, end - POINTS * step, end, step, model)
        return Traffic(step_seconds=step.total_seconds(), data=points)

    @routes.get("/variants")
    async def list_variants() -> Variants:
        """The variants of every endpoint with their weights."""
        return Variants(data=await asyncio.to_thread(_variants, platform))

    @routes.put("/variants/{endpoint}")
    async def set_weights(endpoint: str, asked: Weights) -> Variants:
        """Shift an endpoint's traffic, from the next request on, as SageMaker's UpdateEndpointWeightsAndCapacities."""
        try:
            await asyncio.to_thread(reweigh, platform, endpoint, asked.weights)
        except AwsError as error:
            raise Refusal(error.status, error.message, "weights") from error
        return Variants(data=await asyncio.to_thread(_variants, platform))

    @routes.get("/feedback")
    async def list_feedback() -> Opinions:
        """What was said of logged answers."""
        found = await asyncio.to_thread(said.opinions)
        return Opinions(data=[ShownOpinion.model_validate(each) for each in found.values()])

    @routes.post("/feedback")
    async def give_feedback(opinion: ShownOpinion, http: Http) -> ShownOpinion:
        """Say what an answer was worth, or what it should have been; the last word of a request counts."""
        await asyncio.to_thread(platform.log.flush)
        if await asyncio.to_thread(platform.log.get, opinion.request) is None:
            raise _gone(opinion.request)
        told = Opinion(opinion.request, opinion.thumb, opinion.edit, who(http))
        return ShownOpinion.model_validate(await asyncio.to_thread(said.say, told))

    @routes.post("/datasets")
    async def make_dataset(asked: DatasetRequest) -> FileObject:
        """A file of rows to train on: `preference` out of votes and mended answers, `instruction` out of chats."""
        return await asyncio.to_thread(_dataset, platform, said, asked)

    return routes


def _newest(log: Log, fitting: Filter) -> Iterator[Request]:
    """The newest requests that fit, a page at a time: their bodies may be large."""
    last: str | None = None
    for _ in range(MOST // PAGE):
        page = log.find(PAGE, last, **fitting.model_dump())
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1].id


def _named(log: Log, ids: list[str]) -> Iterator[Request]:
    for id in dict.fromkeys(ids):
        found = log.get(id)
        if found is None:
            raise _gone(id)
        yield found


def _gone(id: str) -> Refusal:
    return Refusal(404, f"The log has no request {id!r}.", "request_id", "request_not_found")


def _variants(platform: Platform) -> list[ShownVariant]:
    return [
        ShownVariant(
            endpoint=endpoint.name,
            status=str(endpoint.body.get("status", "")),
            variant=name,
            model=each["served"] or "",
            weight=float(each["weight"]),
        )
        for endpoint in platform.documents.list(kind_of("endpoint"))
        for name, each in endpoint.body.get("variants", {}).items()
    ]


def _dataset(platform: Platform, said: Feedback, asked: DatasetRequest) -> FileObject:
    platform.log.flush()
    if asked.requests is None:
        found = _newest(platform.log, asked.fitting or Filter())
    else:
        found = _named(platform.log, asked.requests)
    opinions = said.opinions()
    if asked.kind == "preference":
        votes = said.votes() if asked.requests is None and asked.fitting is None else ()
        rows = list(feedback.preferences(votes, found, opinions))
    else:
        rows = list(feedback.instructions(found, opinions))
    feedback.check_rows(rows, asked.kind)
    content = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    return Files(platform.home, platform.documents).write(f"{asked.name}.jsonl", "fine-tune", content)
