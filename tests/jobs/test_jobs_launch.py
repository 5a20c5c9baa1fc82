"""A worker is a process of its own: whatever happens to it, or to whoever started it, the job ends in a true state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pumice.config import Home
from pumice.engine import leash
from pumice.errors import NotFoundError
from pumice.jobs.launch import Here, farewell
from pumice.jobs.queue import ENDED, Queue
from pumice.records import Base, Event, Job, JobState
from pumice.registry.models import Registry
from pumice.store.tables import open_database


@pytest.fixture
def queue(home: Home) -> Queue:
    return Queue(open_database(home.database), home)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    while not true():
        time.sleep(0.02)


def submit(queue: Queue, tiny: Base, data: Path, **recipe: object) -> Job:
    return queue.submit("train", {"model": str(tiny.folder), "name": "faq", "data": str(data), **recipe})


def kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def kinds(queue: Queue, job: Job) -> list[str]:
    return [event.kind for event in queue.read_events(job.id)[0]]


def test_a_worker_keeps_its_records_on_a_server(server_home: Home, tiny: Base, tmp_path: Path) -> None:
    database = open_database(server_home.database)
    queue = Queue(database, server_home)
    data = tmp_path / "faq.jsonl"
    data.write_text("".join(f'{{"prompt": "Question {at}?", "completion": "Answer {at}."}}\n' for at in range(12)))
    worker = Here(queue).start(submit(queue, tiny, data, epochs=1.0).id)
    job = worker.wait()
    assert (job.state, job.pid, job.error, worker.returncode) == (JobState.SUCCEEDED, worker.pid, None, 0)
    assert job.model == Registry(database, server_home).find("faq").id
    assert "step" in kinds(queue, job)
    assert "Warning" not in (queue.folder(job.id) / "log.txt").read_text()
    assert not list(server_home.root.glob("*.db"))
    database.dispose()


def test_broken_data_fails_the_job_with_every_finding(queue: Queue, tiny: Base, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n{"prompt": "c", "completion": ""}\n')
    worker = Here(queue).start(submit(queue, tiny, data).id)
    job = worker.wait()
    assert (job.state, job.pid, worker.returncode) == (JobState.FAILED, worker.pid, 1)
    assert job.error and "faq.jsonl has 2 errors; nothing was trained or changed" in job.error
    event = list(queue.follow(job.id))[-1]
    assert event.kind == "error" and event.data["what"] == job.error and event.data["total"] == 2
    assert [(finding["path"], finding["line"]) for finding in event.data["findings"]] == [
        (str(data), 2),
        (str(data), 3),
    ]
    assert "Traceback" not in (queue.folder(job.id) / "log.txt").read_text()


def test_a_killed_worker_leaves_an_interrupted_job(queue: Queue, tiny: Base, tmp_path: Path) -> None:
    # Nobody ever writes into the pipe, so the worker cannot get ahead of the signal.
    os.mkfifo(tmp_path / "faq.jsonl")
    job = submit(queue, tiny, tmp_path / "faq.jsonl")
    worker = Here(queue).start(job.id)
    until(lambda: queue.get(job.id).state is not JobState.QUEUED or worker.returncode is not None)
    os.kill(worker.pid, signal.SIGKILL)
    ended = worker.wait()
    assert (ended.state, worker.returncode) == (JobState.INTERRUPTED, -signal.SIGKILL)
    assert ended.error == "The worker was killed by signal 9 (SIGKILL): most often the machine ran out of memory."
    assert queue.resume(job.id).state is JobState.QUEUED


def test_a_worker_leaves_a_checkpoint_when_its_parent_is_killed(queue: Queue, tiny: Base, tmp_path: Path) -> None:
    data = tmp_path / "faq.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in range(40)))
    job = submit(queue, tiny, data, epochs=1e6)
    code = f"""
import sys, time
from pathlib import Path
from pumice.config import Home
from pumice.jobs.launch import Here
from pumice.jobs.queue import Queue
from pumice.store.tables import open_database
home = Home(Path({str(queue.home.root)!r}))
print(Here(Queue(open_database(home.database), home)).start({job.id!r}).pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        worker = psutil.Process(int(parent.stdout.readline()))
        try:
            until(lambda: "step" in kinds(queue, job) or queue.get(job.id).state in ENDED)
            assert worker.nice() == 19
            if sys.platform == "linux":
                # Training has started: libraries have threads, and each keeps the policy that it was born with.
                assert {os.sched_getscheduler(thread.id) for thread in worker.threads()} == {os.SCHED_IDLE}
            parent.kill()
            # Far longer than a checkpoint takes: only there so that a worker that stays does not stay for ever.
            worker.wait(120)
        finally:
            parent.kill()
            kill(worker)
    told = list(queue.follow(job.id))
    ended = queue.get(job.id)
    assert ended.state is JobState.INTERRUPTED and ended.error
    assert ended.error.startswith("Whoever started this job has ended. Training stopped at step")
    assert told[-2].kind == "checkpoint" and any((queue.folder(job.id) / "checkpoints").iterdir())
    assert Event("stage", {"name": "train"}) in told


def test_a_system_without_the_policy_has_niceness_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    nice: list[int] = []
    monkeypatch.setattr(leash.os, "nice", nice.append)
    monkeypatch.setattr(leash.os, "sched_setscheduler", refuse, raising=False)
    leash.stand_back()
    assert nice == [19]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own policy")
def test_what_a_worker_starts_stands_back_with_it() -> None:
    told = "import os; print(os.sched_getscheduler(0) == os.SCHED_IDLE, os.getpriority(os.PRIO_PROCESS, 0))"
    child = f"subprocess.run([sys.executable, '-c', {told!r}])"
    code = f"import subprocess, sys\nfrom pumice.engine.leash import stand_back\nstand_back()\n{child}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "19"]


def test_an_unknown_job_is_not_started(queue: Queue) -> None:
    with pytest.raises(NotFoundError):
        Here(queue).start("nobody-0000")


def test_a_worker_that_never_began_leaves_no_queued_job(queue: Queue) -> None:
    job = queue.submit("train", {"data": "faq.jsonl"})
    assert queue.interrupt(job.id, 1, farewell(1), job.attempts).state is JobState.INTERRUPTED
    assert queue.get(job.id).error == "The worker ended with code 1 and left no word; see log.txt."


def test_a_last_state_is_not_overwritten_by_the_end_of_the_process(queue: Queue) -> None:
    job = queue.submit("train", {"data": "faq.jsonl"})
    queue.claim(job.id, os.getpid())
    done = queue.finish(job.id, os.getpid(), JobState.SUCCEEDED, model="faq@1")
    assert queue.interrupt(job.id, os.getpid(), farewell(-9), job.attempts) == done
    assert "signal 11 (Segmentation fault)" in farewell(-11)
