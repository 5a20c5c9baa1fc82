"""The 1 % question: before a new model is trained, three short runs say what the whole one would reach and take.

Registers nothing. A run that is done is not made again when the job is resumed.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pumice.config import Home
from pumice.data.token_rows import Rows
from pumice.errors import InputError
from pumice.plan import Material, Plan, decide, describe
from pumice.records import Event, Job, Tell
from pumice.registry.models import Registry
from pumice.store.files import write_atomic
from pumice.store.tables import open_database
from pumice.train import scaling
from pumice.train.loop import train
from pumice.train.recipe import Recipe, resolve_recipe
from pumice.train.scaling import Point
from pumice.train.trainers.unseen import loss_on

MEASURED = 64
"""Windows that the loss is measured on, at most."""
LEAST = (1, 2, 4)
"""Windows of each run, where there is little data."""


def probe(job: Job, home: Home, tell: Tell, should_stop: Callable[[], bool]) -> None:
    """Train at a quarter, a half and one percent of the tokens, and leave `probe.json` in the job's folder."""
    registry = Registry(open_database(home.database), home)
    tell(Event("stage", {"name": "check"}))
    plan, material = decide(job, home, registry)
    tell(Event("data", describe(plan, material)))
    tell(Event("stage", {"name": "probe"}))
    folder = home.jobs / job.id
    subsets, unseen = cut(plan, material)
    spec, points = Recipe.model_validate(job.spec), []
    for share, rows in zip(scaling.SHARES, subsets, strict=True):
        size = int(rows.sizes.sum())
        tell(Event("note", {"text": f"{100 * share:g} %: {size:,} tokens, measured on {len(unseen)} unseen windows."}))
        points.append(run(spec, plan, rows, unseen, folder / "probe" / f"{100 * share:g}", tell, should_stop))
    result = scaling.probe(loss_on(plan.base.folder, unseen), points, whole(plan, material), plan.base.parameters)
    write_atomic(folder / scaling.FILE, json.dumps(result.to_json(), indent=2) + "\n")
    tell(Event("probe", result.to_json()))


def whole(plan: Plan, material: Material) -> int:
    """Tokens that the whole run would see."""
    return round(int(material.rows.tokens.sizes.sum()) * (plan.recipe.epochs or 1))


def cut(plan: Plan, material: Material) -> tuple[list[Rows], Rows]:
    """The rows of each run, one set within the next, and rows that none of them has.

    Raises `InputError` where there are too few.
    """
    rows = material.rows.tokens
    if len(rows) <= LEAST[-1]:
        raise InputError(
            f"{plan.recipe.data} fills {len(rows)} windows of {plan.base.window:,} tokens.",
            f"A new model learns nothing from so little; the first short runs alone need {LEAST[-1] + 1}.",
            "Add text, or train a model that knows the language already: method: cpt",
        )
    places = list(range(len(rows)))
    random.Random(plan.recipe.seed).shuffle(places)
    rows = rows.select(places)
    reached = np.cumsum(rows.sizes)
    subsets: list[Rows] = []
    for share, least in zip(scaling.SHARES, LEAST, strict=True):
        wanted, count = share * whole(plan, material), least
        while reached[count - 1] < wanted and count < len(rows) - 1:
            count += 1
        subsets.append(rows[:count])
    return subsets, rows[len(subsets[-1]) :][:MEASURED]


def run(
    spec: Recipe,
    plan: Plan,
    rows: Rows,
    unseen: Rows,
    folder: Path,
    tell: Tell,
    should_stop: Callable[[], bool],
) -> Point:
    """One short run, as a whole run of so few tokens would be made; its weights are not kept."""
    kept = folder / "point.json"
    if kept.exists():
        return Point(**json.loads(kept.read_text()))
    size = int(rows.sizes.sum())
    # With the step size of the whole run: runs that differ in more than their tokens follow no law.
    alike = {"epochs": 1.0, "learning_rate": plan.recipe.learning_rate, "learning_rate_multiplier": None}
    recipe, _ = resolve_recipe(spec.model_copy(update=alike), plan.base, len(rows), size)
    steps: list[dict[str, Any]] = []

    def heard(event: Event) -> None:
        tell(event)
        if event.kind == "step":
            steps.append(dict(event.data))

    artifact = train(recipe, plan.base, rows, folder, heard, should_stop)
    if not steps:
        # Resumed behind its last step, a run has no speed to tell: it is short, and made again.
        shutil.rmtree(folder)
        artifact = train(recipe, plan.base, rows, folder, heard, should_stop)
    point = Point(size, loss_on(artifact, unseen), steps[-1]["tokens_per_second"])
    write_atomic(kept, json.dumps(asdict(point)))
    shutil.rmtree(artifact)
    return point
