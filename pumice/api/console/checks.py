"""`/api/checks`: a file judged before anything is paid for. The judging is `data/checks`; this finds the file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from pumice.api.console.shown import file_of
from pumice.api.platform import Platform
from pumice.api.training import check_model
from pumice.bases.resolve import DEFAULT
from pumice.data import checks
from pumice.data.checks import Check
from pumice.data.kept import kept_in
from pumice.data.render import Renderer
from pumice.data.sets import SetName
from pumice.data.window import TooLong
from pumice.registry.start import starting_point

MOST_TEXT = 2_000
"""Characters of a row that are shown beside what is wrong with it."""
LINES = frozenset({".jsonl", ".json", ".csv", ".txt", ".md", ".html"})
"""Files whose findings name lines of text."""


class CheckRequest(BaseModel):
    file: str
    """Id of an uploaded file, or `s3://bucket/key`."""
    model: str = DEFAULT
    """What would be trained: its tokens are counted, its window is the limit."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    too_long: TooLong | None = None
    validation: str | None = None


class Split(BaseModel):
    """What is trained on, and what is asked afterwards."""

    trained: int
    asked: int
    set: SetName


class Checked(BaseModel):
    """What was found out about a file."""

    ok: bool
    """Whether it can be trained on as it is."""
    check: Check
    texts: dict[int, str]
    """The lines that a finding names, as they stand in the file."""
    split: Split | None
    """None where something is wrong."""


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter(prefix="/checks", tags=["data"])

    @routes.post("")
    async def check(asked: CheckRequest) -> Checked:
        """Errors by row with their fix, lengths in tokens, repeats, and a row as the model reads it."""
        return await asyncio.to_thread(_checked, platform, asked)

    return routes


def _checked(platform: Platform, asked: CheckRequest) -> Checked:
    check_model(platform, asked.model)
    path = file_of(platform, asked.file, "file")
    other = file_of(platform, asked.validation, "validation") if asked.validation else None
    base = starting_point(asked.model, None, platform.registry, platform.home).base
    found = checks.check(
        path,
        Renderer(base.folder),
        asked.max_length,
        asked.too_long,
        other,
        name=path.name,
        validation_name=other.name if other else "",
    )
    texts = _lines(path, {finding.line for finding in found.findings if finding.path == found.path})
    return Checked(ok=found.ok, check=found, texts=texts, split=_split(platform, path, other) if found.ok else None)


def _split(platform: Platform, path: Path, other: Path | None) -> Split:
    dataset = checks.load(path, path.name, kept_in(platform.home))
    rows, held = len(dataset.examples), len(dataset.held_out)
    if other:
        asked = checks.load(other, other.name, kept_in(platform.home))
        return Split(trained=rows, asked=len(asked.examples), set="validation file")
    if held:
        return Split(trained=rows - held, asked=held, set="held-out rows")
    return Split(trained=rows, asked=rows, set="recall of trained rows")


def _lines(path: Path, wanted: set[int]) -> dict[int, str]:
    if not wanted or path.suffix.lower() not in LINES:
        return {}
    with path.open("rb") as file:
        found = {}
        for number, line in enumerate(file, 1):
            if number in wanted:
                found[number] = line[: 4 * MOST_TEXT].decode("utf-8", "replace").rstrip("\r\n")[:MOST_TEXT]
            if number >= max(wanted):
                break
    return found
