"""Each task, done by a real worker: what it leaves in the job, in its folder and in the registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import psutil
import pytest

from pumice.config import Home
from pumice.evaluate import report as reports
from pumice.jobs.launch import Child, Here
from pumice.jobs.queue import ENDED, Queue
from pumice.jobs.tasks import TASKS
from pumice.records import Base, Job, JobState, Model, Task
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.tables import open_database


@pytest.fixture
def queue(home: Home) -> Queue:
    return Queue(open_database(home.database), home)


@pytest.fixture
def registry(queue: Queue) -> Registry:
    return Registry(queue.database, queue.home)


@pytest.fixture
def model(registry: Registry, tiny: Base) -> Model:
    """The tiny base over itself: what it is compared with is known."""
    return import_model(tiny.folder, "own", registry, registry.home, None, str(tiny.folder))


def write(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in range(count)))
    return path


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    while not true():
        time.sleep(0.02)


def start(queue: Queue, job: Job, kind: str) -> Child:
    """A worker that has told of an event of this kind."""
    worker = Here(queue).start(job.id)
    until(lambda: kind in kinds(queue, job) or queue.get(job.id).state in ENDED)
    return worker


def kinds(queue: Queue, job: Job) -> list[str]:
    return [event.kind for event in queue.read_events(job.id)[0]]


def test_every_task_has_its_function() -> None:
    assert set(TASKS) == set(get_args(Task))


def test_evaluating_leaves_the_report(queue: Queue, model: Model, tmp_path: Path) -> None:
    spec = {"model": "own@1", "data": str(write(tmp_path / "questions.jsonl", 3)), "name": "compare"}
    job = Here(queue).start(queue.submit("evaluate", spec).id).wait()
    assert (job.state, job.model) == (JobState.SUCCEEDED, model.id), job.error
    kept = json.loads((queue.folder(job.id) / "report.json").read_bytes())
    (told,) = (event.data for event in queue.read_events(job.id)[0] if event.kind == "report")
    assert reports.from_json(kept) == reports.from_json(told) and reports.from_json(kept).count == 3


def test_importing_registers(queue: Queue, registry: Registry, tiny: Base) -> None:
    job = Here(queue).start(queue.submit("import", {"name": "own", "folder": str(tiny.folder)}).id).wait()
    assert (job.state, job.model) == (JobState.SUCCEEDED, "own@1"), job.error
    assert registry.find("own").job == job.id and registry.find("own").method == "import"


def test_what_cannot_be_imported_fails_with_the_reason(queue: Queue, tmp_path: Path) -> None:
    job = Here(queue).start(queue.submit("import", {"name": "own", "folder": str(tmp_path)}).id).wait()
    assert (job.state, job.error) == (JobState.FAILED, f"{tmp_path} has no config.json.")
    assert "Traceback" not in (queue.folder(job.id) / "log.txt").read_text()


def test_an_evaluation_can_be_stopped(queue: Queue, model: Model, tmp_path: Path) -> None:
    data = write(tmp_path / "questions.jsonl", 400)
    job = queue.submit("evaluate", {"model": "own@1", "data": str(data)})
    assert job.id.startswith("questions-")
    worker = start(queue, job, "score")
    engines = psutil.Process(worker.pid).children(recursive=True)
    assert queue.stop(job.id).state is JobState.RUNNING
    ended = worker.wait()
    assert (ended.state, ended.model) == (JobState.STOPPED, None)
    assert ended.error and ended.error.startswith("Stopped during the evaluation")
    psutil.wait_procs(engines, 30)
    assert not any(engine.is_running() for engine in engines), "no engine outlives its job"


@pytest.mark.parametrize("how", ["stop", "release", "terminate"])
def test_training_that_ends_early_says_who_wanted_it(queue: Queue, tiny: Base, tmp_path: Path, how: str) -> None:
    spec = {"model": str(tiny.folder), "data": str(write(tmp_path / "faq.jsonl", 40)), "name": "faq", "epochs": 1e6}
    job = queue.submit("train", spec)
    worker = start(queue, job, "step")
    ways = {
        # As another machine would, without a signal.
        "stop": lambda: queue.stop(job.id),
        "release": worker.release,
        "terminate": lambda: psutil.Process(worker.pid).terminate(),
    }
    ways[how]()
    ended = worker.wait()
    assert ended.error
    if how == "stop":
        assert ended.state is JobState.STOPPED and ended.error.startswith("Training stopped at step")
    else:
        reason = {"release": "Whoever started", "terminate": "The worker was told to end by a signal"}[how]
        assert ended.state is JobState.INTERRUPTED and ended.error.startswith(reason)
    assert list((queue.folder(job.id) / "checkpoints").glob("checkpoint-*/complete.json"))
    assert queue.resume(job.id).state is JobState.QUEUED and not queue.is_to_stop(job.id)


def test_a_worker_whose_starter_has_gone_does_not_begin(queue: Queue) -> None:
    job = queue.submit("train", {"data": "faq.jsonl"})
    worker = Here(queue).start(job.id)
    worker.release()
    assert worker.wait().state is JobState.QUEUED and queue.get(job.id).attempts == 0
