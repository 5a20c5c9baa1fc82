"""The shapes that more than one of `/api`'s routes answer with, and the words by which they find files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from pumice.api.openai.refusals import Refusal
from pumice.api.openai.stored import Files
from pumice.api.platform import Platform
from pumice.errors import InputError, NotFoundError
from pumice.records import Job, JobState
from pumice.store.s3 import Objects, is_uri


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
    background: bool
    """Whether this server starts and resumes it; the others belong to a terminal."""
    spec: dict[str, Any]
    """Its recipe."""


def job_of(platform: Platform, id: str) -> Job:
    """One job. Raises `Refusal` when there is none."""
    try:
        return platform.queue.get(id)
    except NotFoundError as error:
        raise Refusal(404, " ".join(str(error).splitlines()), param="job_id", code="job_not_found") from error


def file_of(platform: Platform, word: str, param: str) -> Path:
    """What an uploaded file's id, or an `s3://` address, names. Raises `Refusal` for anything else: no path is read."""
    if word.startswith("file-"):
        return Files(platform.home, platform.documents).path(word, param)
    if is_uri(word):
        return Objects(platform.home.s3).locate(word)
    raise Refusal(400, f"{word!r} names no file: give the id of an uploaded one, or s3://bucket/key.", param=param)


@contextmanager
def by_name(files: Iterable[Path]) -> Iterator[None]:
    """What goes wrong names a file as its owner does, not by where it lies on this server."""
    try:
        yield
    except InputError as error:
        text = " ".join(str(error).splitlines())
        told = reduce(lambda said, file: said.replace(str(file), file.name), files, text)
        if told == text:
            raise
        raise Refusal(400, told, "data", "data_invalid") from error


def who(http: Request) -> str | None:
    """The name of the caller's key; None while none is asked for."""
    key = http.scope["caller"].key
    return key.name if key else None
