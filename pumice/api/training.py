"""Jobs that come over a wire: what they read is kept as it was when they were submitted, and their story is told.

Knows no wire's words. The jobs themselves belong to `jobs`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pumice.api.openai.refusals import near
from pumice.api.platform import Platform
from pumice.bases.catalogue import CATALOGUE
from pumice.bases.resolve import DEFAULT
from pumice.errors import RequestError
from pumice.jobs.queue import ENDED
from pumice.records import Event, Job
from pumice.train.recipe import Recipe, make_recipe

POLL_SECONDS = 0.25
"""How often a story that is followed is looked at."""
UNASKED = (
    "Nobody was asked: over the network a new model is trained at once. `pumice train` first trains at 1 % of the "
    "tokens and says what the whole run would reach and cost."
)


def submit(
    platform: Platform,
    values: Mapping[str, Any],
    data: Path,
    validation: Path | None = None,
    task: Literal["run", "train"] = "run",
) -> Job:
    """Queue a recipe for the server's dispatcher. `values` are recipe keys but for the two files.

    The files are linked, or copied to another disk, now: what is uploaded under their names later changes nothing.
    Raises `InputError` for a recipe that breaks a rule and `RequestError` for a model that a caller may not name.
    """
    check_model(platform, str(values.get("model", DEFAULT)))
    check_name(values.get("name"))
    # The recipe first, so that a mistake in it leaves nothing behind.
    recipe = make_recipe({**values, "data": str(data), **({"validation": str(validation)} if validation else {})})
    check_knobs(platform, recipe)
    folder = platform.home.files / f"input-{secrets.token_hex(8)}"
    # Each in a folder of its own: both files may have the same name.
    files = {"data": snapshot(data, folder / "data")}
    files |= {"validation": snapshot(validation, folder / "validation")} if validation else {}
    spec = recipe.model_copy(update={key: str(path) for key, path in files.items()}).model_dump(mode="json")
    job = platform.queue.submit(task, spec, background=True)
    if recipe.method == "pretrain":
        platform.queue.append(job.id, Event("note", {"text": UNASKED}))
    platform.nudge()
    return job


def settings(given: Mapping[str, str]) -> dict[str, Any]:
    """Recipe values from text, as wires send them: `{"lora.r": "8"}` becomes `{"lora": {"r": 8}}`.

    Text is read as YAML; quotes around a word, as JSON writes it, go. Raises `RequestError` for what is none.
    """
    values: dict[str, Any] = {}
    for key, text in given.items():
        *tables, last = key.split(".")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise RequestError(f"{key}: {table} has a value of its own.", fix="Give one of the two.", field=key)
        try:
            place[last] = YAML(typ="safe").load(text)
        except YAMLError as error:
            what = f"{key} = {text[:80]!r} cannot be read."
            raise RequestError(what, fix="Write a number, a word, or JSON.", field=key) from error
    return values


def check_model(platform: Platform, name: str) -> None:
    """Refuse what is neither in the catalogue nor registered: a caller names no folder or hub id of its own choice."""
    known = [DEFAULT, *(entry.id for entry in CATALOGUE)]
    if name not in known and not platform.registry.has(name):
        raise RequestError(
            f"The model {name!r} is not one that can be trained here.{near(name, known)}",
            "Over the network a base comes out of the catalogue or is registered.",
            "`pumice models catalogue` shows the bases; `pumice models import` registers weights of your own.",
            field="model",
            code="model_not_found",
        )


def check_knobs(platform: Platform, recipe: Recipe) -> None:
    """Refuse a program of the caller's own, and another model than one that is known here."""
    if recipe.knobs.runs_code:
        raise RequestError(
            f"The {recipe.method} table names a Python file, and over the network none is run.",
            "Whoever may upload a file could run anything on this machine.",
            "Choose exact, json, regex:PATTERN, length:WORDS or a reward model; or run the recipe here: pumice run",
            field=recipe.method,
        )
    if recipe.knobs.guide is not None:
        check_model(platform, recipe.knobs.guide)


def check_name(name: str | None) -> None:
    """Refuse a name that means a base: whoever asks for that base would get the new model."""
    if name and name.partition("@")[0] in {DEFAULT, *(entry.id for entry in CATALOGUE)}:
        raise RequestError(f"{name!r} is the name of a base.", fix="Choose another name for the model.", field="name")


def snapshot(file: Path, folder: Path) -> Path:
    """The file as it is now, under the same name in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / file.name
    # Whoever writes the file anew replaces it, so a second link keeps what is there now.
    with suppress(OSError):
        os.link(file, copy)
    if not copy.exists():
        shutil.copyfile(file, copy)
    return copy


@dataclass(frozen=True)
class Step:
    """One line of the loss curve."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    validation_loss: float | None = None
    """Of rows that are not trained on, where they were read after this step."""


@dataclass(frozen=True)
class Story:
    """What a job has told so far."""

    events: tuple[Event, ...]

    @property
    def stage(self) -> str:
        """`check`, `ask`, `train`, `evaluate` or `register`; "" before the first."""
        stages = [event.data["name"] for event in self.events if event.kind == "stage"]
        return stages[-1] if stages else ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The loss curve; a step that was repeated after a crash is there once, as it was the last time."""
        told = {event.data["step"]: event.data for event in self.events if event.kind == "step"}
        unseen = {e.data["step"]: e.data["validation_loss"] for e in self.events if e.kind == "validation"}
        return tuple(
            Step(step, data["epoch"], data["loss"], data["learning_rate"], unseen.get(step))
            for step, data in sorted(told.items())
        )

    @property
    def report(self) -> Mapping[str, Any] | None:
        """The comparison with the base, once made."""
        return next((event.data for event in reversed(self.events) if event.kind == "report"), None)

    @property
    def trained_tokens(self) -> int | None:
        """Tokens seen by the end of the last step."""
        seen = [event.data["tokens"] for event in self.events if event.kind == "step"]
        return int(seen[-1]) if seen else None


async def follow(platform: Platform, id: str, seen: int = 0) -> AsyncGenerator[tuple[int, Event], None]:
    """A job's events from number `seen` on as they come, until it has ended and all are told; each with its number."""
    offset, number = 0, -1
    while True:
        # Looked at before reading: what was told before the end is never missed.
        ended = (await asyncio.to_thread(platform.queue.get, id)).state in ENDED
        events, offset = await asyncio.to_thread(platform.queue.read_events, id, offset)
        for event in events:
            number += 1
            if number >= seen:
                yield number, event
        if ended:
            return
        if not events:
            await asyncio.sleep(POLL_SECONDS)


def read_story(platform: Platform, job: Job) -> Story:
    """A job's story so far; blocks for a file's reading."""
    events, _ = platform.queue.read_events(job.id)
    return Story(events)
