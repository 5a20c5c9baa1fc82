"""What each task does, from its spec to a registered version. Knows no states: it returns, raises or is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from pumice import pipeline
from pumice.config import Home
from pumice.evaluate import report as reports
from pumice.evaluate.trial import SAMPLES, stopping
from pumice.jobs.probe import probe
from pumice.records import Event, Job, Model, Task, Tell
from pumice.registry.again import compare
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.files import write_atomic
from pumice.store.tables import open_database

Work = Callable[[Job, Home, Tell, Callable[[], bool]], Model | None]
"""A task: the job, its home, how it tells its story, whether it shall end early. Returns the version it is about, if
there is one."""


def evaluate(job: Job, home: Home, tell: Tell, should_stop: Callable[[], bool]) -> Model:
    """Compare the version `model` with its base, on the file `data` or else on its own held-out rows.

    The report shows `samples` of the answers.
    """
    registry = Registry(open_database(home.database), home)
    tell(Event("stage", {"name": "evaluate"}))
    model, data = registry.find(job.spec["model"]), job.spec.get("data")
    heard = stopping(tell, should_stop, "Stopped during the evaluation; it begins anew when it is resumed.")
    samples = job.spec.get("samples", SAMPLES)
    report = asyncio.run(compare(model.id, data, registry, home, heard, samples))
    result = reports.to_json(report)
    write_atomic(home.jobs / job.id / "report.json", orjson.dumps(result, option=orjson.OPT_INDENT_2))
    tell(Event("report", result))
    return model


def bring_in(job: Job, home: Home, tell: Tell, should_stop: Callable[[], bool]) -> Model:
    """Register the weights in `folder` as `name`, over `base` if they are an adapter."""
    registry = Registry(open_database(home.database), home)
    tell(Event("stage", {"name": "register"}))
    model = import_model(Path(job.spec["folder"]), job.spec["name"], registry, home, job.id, job.spec.get("base"))
    tell(Event("model", {"id": model.id, "folder": str(model.folder)}))
    return model


TASKS: Mapping[Task, Work] = {
    "run": pipeline.run,
    "train": pipeline.run,
    "evaluate": evaluate,
    "import": bring_in,
    "probe": probe,
}
