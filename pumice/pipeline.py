"""The product's first half, in order: check, train, evaluate, register. Read this first.

Does not know who asked. Each stage leaves its result in the job's folder, so a job that was stopped, killed or
unplugged goes on where it was; `make` alone can run on another machine: it needs the plan and a folder, no database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pumice.config import Home
from pumice.engine.pool import Pool
from pumice.evaluate import report as reports
from pumice.evaluate.run import evaluate
from pumice.evaluate.trial import Trial, stopping
from pumice.plan import Material, Plan, decide, describe, unseen_rows
from pumice.prompting.kept import beside
from pumice.records import Event, Job, Model, Report, Tell
from pumice.registry.models import Registry
from pumice.store.documents import Documents
from pumice.store.tables import open_database
from pumice.teach import teach
from pumice.train.loop import train
from pumice.train.scaling import foreseen


@dataclass(frozen=True)
class Outcome:
    """What a job has made: the artifact's folder and, unless it was left out, the comparison with the base."""

    artifact: Path
    report: Report | None


def run(job: Job, home: Home, tell: Tell, should_stop: Callable[[], bool]) -> Model:
    """Take a job's recipe to a registered version. Raises `DataError`, `InputError` or `StoppedError`."""
    registry = Registry(open_database(home.database), home)
    tell(Event("stage", {"name": "check"}))
    plan, material = decide(job, home, registry)
    tell(Event("data", describe(plan, material)))
    outcome = make(plan, material, job, home, tell, should_stop)
    if outcome.report:
        hashes = plan.data_sha256, plan.validation_sha256, plan.base.sha256
        if line := beside(outcome.report, *hashes, plan.recipe.seed, Documents(registry.database)):
            tell(Event("note", {"text": line}))
    tell(Event("stage", {"name": "register"}))
    model = registry.register(plan.recipe, outcome.artifact, plan.base, plan.data_sha256, job.id, outcome.report)
    tell(Event("model", {"id": model.id, "folder": str(model.folder)}))
    return model


def make(plan: Plan, material: Material, job: Job, home: Home, tell: Tell, should_stop: Callable[[], bool]) -> Outcome:
    """Train the plan's recipe and compare the result with its base."""
    folder = home.jobs / job.id
    material = teach(plan, material, folder, home, tell, should_stop)
    tell(Event("stage", {"name": "train"}))
    rows, unseen = material.rows.tokens, unseen_rows(plan, material)
    artifact = train(plan.recipe, plan.base, rows, folder, tell, should_stop, plan.adapter, plan.guide, unseen)
    if job.task == "train":
        return Outcome(artifact, None)
    tell(Event("stage", {"name": "evaluate"}))
    heard = stopping(tell, should_stop, "Stopped during the evaluation; the trained weights are kept.")
    report = asyncio.run(compare(plan, material, artifact, home, heard))
    tell(Event("report", reports.to_json(report)))
    if line := foreseen(folder, report.tuned.loss):
        tell(Event("note", {"text": line}))
    return Outcome(artifact, report)


async def compare(plan: Plan, material: Material, artifact: Path, home: Home, tell: Tell) -> Report:
    """Base against tuned, on the questions that the plan sets apart."""
    recipe, sets = plan.recipe, material.sets
    adapter = artifact if recipe.makes_adapter else None
    asked = sets.questions, sets.name, recipe.seed
    trial = Trial(plan.base, artifact, adapter, *asked, method=recipe.knobs, guide=plan.guide)
    async with Pool(home.cache, serving=plan.serving(home)) as pool:
        return await evaluate(trial, pool, tell)
