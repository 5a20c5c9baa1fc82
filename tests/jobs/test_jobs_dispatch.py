"""A server loses no job: what it starts is ended once, and what a crash interrupts goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import update

from pumice.config import Home
from pumice.jobs.dispatch import ATTEMPTS, Dispatcher, fruitless
from pumice.jobs.launch import Here
from pumice.jobs.queue import ENDED, LATE, Queue
from pumice.records import Base, Event, Job, JobState
from pumice.store.tables import jobs, open_database

SPEC = {"data": "faq.jsonl", "name": "faq"}


@pytest.fixture
def queue(home: Home) -> Queue:
    return Queue(open_database(home.database), home)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "faq.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) + "\n" for n in range(40)))
    return path


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    while not true():
        time.sleep(0.02)


def kinds(queue: Queue, id: str) -> list[str]:
    return [event.kind for event in queue.read_events(id)[0]]


@contextmanager
def dispatching(queue: Queue, on_end: Callable[[Job], None] = lambda job: None) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(queue, Here(queue), on_end)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.close()


@dataclass
class Worker:
    """A worker of a launcher that only notes what is started: the order and the number are what is looked at."""

    pid: int = 0
    returncode: int | None = None
    asked: list[str] = field(default_factory=list)

    def wait(self) -> Job:
        raise AssertionError("it has not ended")

    def stop(self) -> None:
        self.asked.append("stop")

    def release(self) -> None:
        self.asked.append("release")


class Noting:
    """A launcher that starts nothing."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, job_id: str) -> Worker:
        self.started.append(job_id)
        return Worker(pid=2**22 + 1)


def look(queue: Queue) -> tuple[list[str], Dispatcher]:
    """What one round starts."""
    launcher = Noting()
    dispatcher = Dispatcher(queue, launcher)
    dispatcher._look()
    return launcher.started, dispatcher


def test_the_oldest_is_started_and_the_next_when_it_has_ended(queue: Queue) -> None:
    first, second = (queue.submit("train", SPEC, True).id for _ in range(2))
    # One of a terminal is the terminal's.
    queue.submit("train", SPEC)
    started, dispatcher = look(queue)
    dispatcher._look()
    assert started == [first], "one at a time, and none twice"
    dispatcher._workers.clear()
    queue.claim(first, os.getpid())
    dispatcher._look()
    assert started == [first], "one that another server began on this machine counts, too"
    queue.finish(first, os.getpid(), JobState.STOPPED)
    dispatcher._look()
    assert started == [first, second]


def test_an_interrupted_job_is_given_up_when_it_gets_no_further(queue: Queue) -> None:
    id = queue.submit("train", SPEC, True).id
    for attempt in range(1, ATTEMPTS + 1):
        job = queue.claim(id, os.getpid())
        assert job.attempts == attempt
        queue.interrupt(id, os.getpid(), "The worker was killed.", job.attempts)
        look(queue)
    ended = queue.get(id)
    assert (ended.state, ended.attempts) == (JobState.FAILED, ATTEMPTS)
    assert ended.error and ended.error.startswith("Interrupted 3 times without getting further; it is not tried again.")
    assert "The worker was killed." in ended.error and f"pumice jobs resume {id}" in ended.error
    assert kinds(queue, id) == ["note", "note", "error"]
    assert queue.resume(id).state is JobState.QUEUED and fruitless(queue.read_events(id)[0]) == 0


@pytest.mark.parametrize("further", [Event("checkpoint", {"step": 4}), Event("note", {"text": "", "in_order": True})])
def test_a_job_that_gets_further_is_resumed_however_often(queue: Queue, further: Event) -> None:
    id = queue.submit("train", SPEC, True).id
    for _ in range(2 * ATTEMPTS):
        queue.claim(id, os.getpid())
        queue.append(id, further)
        queue.interrupt(id, os.getpid(), "Killed.", 0)
        look(queue)
        assert queue.get(id).state is JobState.QUEUED


def test_what_a_person_wants_stopped_is_not_resumed(queue: Queue) -> None:
    interrupted, dying = (queue.submit("train", SPEC, True).id for _ in range(2))
    for id in (interrupted, dying):
        queue.claim(id, os.getpid())
    queue.interrupt(interrupted, os.getpid(), "The server is down.", 0)
    assert queue.stop(interrupted).state is JobState.STOPPED
    assert queue.stop(dying).state is JobState.RUNNING
    queue.interrupt(dying, os.getpid(), "It died before it heard.", 0)
    assert look(queue)[0] == []
    assert queue.get(dying).state is JobState.STOPPED
    assert not queue.is_to_stop(queue.resume(dying).id)


def test_another_machine_is_judged_by_its_heartbeat(queue: Queue) -> None:
    id = queue.submit("train", SPEC, True).id
    queue.claim(id, os.getpid())

    def heard(seconds: int) -> Job:
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        with queue.database.begin() as connection:
            connection.execute(update(jobs).values(host="elsewhere", pid=2**22 + 1, heartbeat=then))
        return queue.get(id)

    assert heard(50).state is JobState.RUNNING
    assert queue.stop(id).state is JobState.RUNNING and queue.is_to_stop(id), "a stop is heard without a pid"
    lost = heard(70)
    assert lost.state is JobState.INTERRUPTED and lost.error and "on elsewhere has not been heard of" in lost.error
    assert not queue.beat(id, 2**22 + 1)


def test_the_thread_outlives_what_goes_wrong(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    unended, errors = queue.unended, [RuntimeError("the database is away")]

    def away() -> tuple[Job, ...]:
        if errors:
            raise errors.pop()
        return unended()

    monkeypatch.setattr(queue, "unended", away)
    launcher = Noting()
    dispatcher = Dispatcher(queue, launcher)
    id = queue.submit("train", SPEC, True).id
    dispatcher.start()
    until(lambda: launcher.started == [id])
    dispatcher._thread.join(0)
    dispatcher._workers.clear()
    dispatcher.close()
    assert "the database is away" in caplog.text


def test_the_worker_that_comes_late_says_nothing(queue: Queue, tmp_path: Path) -> None:
    # Nobody ever writes into the pipe, so the winner is still at it when the other one comes.
    os.mkfifo(tmp_path / "faq.jsonl")
    job = queue.submit("train", {"data": str(tmp_path / "faq.jsonl"), "name": "faq"}, True)
    one, other = Here(queue).start(job.id), Here(queue).start(job.id)
    try:
        until(lambda: LATE in (one.returncode, other.returncode))
        late, winner = (one, other) if one.returncode == LATE else (other, one)
        assert late.wait().state is JobState.RUNNING
        assert queue.get(job.id).pid == winner.pid and kinds(queue, job.id) in ([], ["stage"])
    finally:
        for worker in (one, other):
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
    queue.resume(job.id)
    assert late.wait().state is JobState.QUEUED, "nor does it touch what waits for its next worker"


def test_jobs_are_run_to_their_end_once(queue: Queue, tiny: Base, data: Path) -> None:
    ended: list[Job] = []
    spec = {"model": str(tiny.folder), "data": str(data), "epochs": 1.0}
    with dispatching(queue, on_end=ended.append) as dispatcher:
        good = queue.submit("train", {**spec, "name": "good"}, True).id
        dispatcher.nudge()
        bad = queue.submit("train", {**spec, "name": "bad", "data": "nowhere.jsonl"}, True).id
        until(lambda: len(ended) == 2)
    assert {job.id: job.state for job in ended} == {good: JobState.SUCCEEDED, bad: JobState.FAILED}
    assert queue.get(good).model == "good@1" and queue.get(good).attempts == 1
    assert abs((datetime.now(UTC) - queue.get(good).heartbeat).total_seconds()) < 120  # type: ignore[operator]


SERVER = """
import sys, time
from pathlib import Path
from pumice.config import Home
from pumice.jobs.dispatch import Dispatcher
from pumice.jobs.launch import Here
from pumice.jobs.queue import Queue
from pumice.store.tables import open_database
home = Home(Path(sys.argv[1]))
queue = Queue(open_database(home.database), home)
dispatcher = Dispatcher(queue, Here(queue))
dispatcher.start()
sys.stdin.readline()
dispatcher.close()
"""


def test_a_killed_server_and_a_killed_worker_and_a_closed_server_lose_no_job(
    queue: Queue, tiny: Base, data: Path
) -> None:
    spec = {"model": str(tiny.folder), "data": str(data), "name": "faq", "epochs": 6.0, "batch_size": 1}
    id = queue.submit("train", spec, True).id

    def at_work() -> None:
        until(lambda: queue.get(id).state in ENDED - {JobState.INTERRUPTED} or is_running_steps())
        assert queue.get(id).state is JobState.RUNNING, queue.get(id)

    def is_running_steps() -> bool:
        told = queue.read_events(id)[0]
        return queue.get(id).state is JobState.RUNNING and bool(told) and told[-1].kind == "step"

    # A server that is killed: its worker sees that, and leaves a checkpoint.
    with subprocess.Popen([sys.executable, "-c", SERVER, str(queue.home.root)], stdin=subprocess.PIPE) as server:
        at_work()
        worker = psutil.Process(queue.get(id).pid)
        server.kill()
    worker.wait(120)
    ended = queue.get(id)
    assert ended.state is JobState.INTERRUPTED and ended.error
    assert ended.error.startswith("Whoever started this job has ended.")
    assert "checkpoint" in kinds(queue, id)
    with dispatching(queue) as dispatcher:
        at_work()
        os.kill(queue.get(id).pid or 0, signal.SIGKILL)
        until(lambda: queue.get(id).attempts == 3)
        at_work()
        dispatcher.close()
    again = [event.data["text"] for event in queue.read_events(id)[0] if "again" in event.data]
    assert len(again) == 2 and "SIGKILL" in again[1]
    assert queue.get(id).state is JobState.INTERRUPTED, "a server that is closed stops nothing for good"
    assert str(queue.get(id).error).startswith("Whoever started this job has ended.")
    with dispatching(queue):
        until(lambda: queue.get(id).state is JobState.SUCCEEDED)
    notes = [event.data["text"] for event in queue.read_events(id)[0] if event.kind == "note"]
    assert sum(text.startswith("Goes on from checkpoint-") for text in notes) == 3
