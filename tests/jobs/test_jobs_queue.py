"""Jobs move along the arrows and no others, one process at a time, and their stories are read whole."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import orjson
import psutil
import pytest
from sqlalchemy import update

from pumice.config import Home
from pumice.errors import InputError, NotFoundError
from pumice.jobs.queue import ARROWS, Queue
from pumice.records import Event, Job, JobState
from pumice.store.tables import jobs, open_database

RECIPE = {"data": "/data/My FAQ (new).jsonl", "name": "faq", "epochs": 3}
START = """
import os, signal, sys, time
from pathlib import Path
from pumice.config import Home
from pumice.errors import InputError
from pumice.jobs.queue import Queue
from pumice.records import Event, JobState
from pumice.store.tables import open_database
home = Home(Path(sys.argv[1]))
queue = Queue(open_database(home.database), home)
job = sys.argv[2]
"""


@pytest.fixture
def queue(home: Home) -> Queue:
    return Queue(open_database(home.database), home)


@contextmanager
def process(queue: Queue, job: Job, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process with a queue of its own on the same home, up to its first printed line."""
    command = [sys.executable, "-c", START + code, str(queue.home.root), job.id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n"
        try:
            yield child
        finally:
            child.kill()


def test_a_submitted_job_is_recorded_with_its_folder(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    assert re.fullmatch(r"faq-[0-9a-f]{4}", job.id)
    assert (job.state, job.task, job.spec, job.pid) == (JobState.QUEUED, "run", RECIPE, None)
    assert orjson.loads((queue.home.jobs / job.id / "spec.json").read_bytes()) == RECIPE
    assert queue.get(job.id) == job
    assert abs((datetime.now(UTC) - job.created).total_seconds()) < 60


def test_a_job_without_a_name_is_called_after_its_data(queue: Queue) -> None:
    job = queue.submit("train", {"data": RECIPE["data"], "name": None})
    assert re.fullmatch(r"my-faq-new-[0-9a-f]{4}", job.id)
    assert re.fullmatch(r"job-[0-9a-f]{4}", queue.submit("train", {"data": "данные.jsonl"}).id)


def test_jobs_are_listed_newest_first_and_ids_differ(queue: Queue) -> None:
    ids = [queue.submit("run", RECIPE).id for _ in range(20)]
    assert [job.id for job in queue.list()] == ids[::-1]
    assert len(set(ids)) == 20


def test_an_unknown_id_is_told_with_the_nearest(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    with pytest.raises(NotFoundError, match="no job 'fag-") as caught:
        queue.get("fag" + job.id[3:])
    assert job.id in caught.value.why and "pumice jobs list" in caught.value.fix


def test_a_job_goes_its_way_and_keeps_its_times(queue: Queue) -> None:
    id = queue.submit("run", RECIPE).id
    running = queue.claim(id, psutil.Process().pid)
    assert running.state is JobState.RUNNING and running.started and not running.ended
    done = queue.finish(id, os.getpid(), JobState.SUCCEEDED, model="faq@1")
    assert (done.state, done.model, done.error) == (JobState.SUCCEEDED, "faq@1", None)
    assert done.ended and running.started <= done.ended


@pytest.mark.parametrize("state", [JobState.STOPPED, JobState.FAILED, JobState.INTERRUPTED])
def test_what_ended_early_can_be_resumed(queue: Queue, state: JobState) -> None:
    id = queue.submit("run", RECIPE).id
    queue.claim(id, psutil.Process().pid)
    assert queue.finish(id, os.getpid(), state, error="Because.").error == "Because."
    again = queue.resume(id)
    assert (again.state, again.pid, again.ended, again.error) == (JobState.QUEUED, None, None, None)
    assert queue.resume(id) == again
    assert queue.claim(id, psutil.Process().pid).state is JobState.RUNNING


def test_what_runs_or_succeeded_cannot_be_resumed_or_stopped_late(queue: Queue) -> None:
    id = queue.submit("run", RECIPE).id
    queue.claim(id, psutil.Process().pid)
    with pytest.raises(InputError, match=f"Job {id} is running"):
        queue.resume(id)
    with pytest.raises(InputError, match="is running; only a queued job"):
        queue.claim(id, psutil.Process().pid)
    queue.finish(id, os.getpid(), JobState.SUCCEEDED, model="faq@1")
    with pytest.raises(InputError, match=f"Job {id} is succeeded; there is nothing to resume"):
        queue.resume(id)
    with pytest.raises(InputError, match=f"Job {id} is succeeded already"):
        queue.stop(id)


def test_no_arrow_leaves_the_diagram(queue: Queue) -> None:
    for before in JobState:
        for after in set(JobState) - ARROWS[before]:
            with pytest.raises(AssertionError, match="no arrow"):
                queue._move("x", before, after, {})


def test_a_queued_job_is_stopped_at_once(queue: Queue) -> None:
    stopped = queue.stop(queue.submit("run", RECIPE).id)
    assert stopped.state is JobState.STOPPED and stopped.ended


def test_one_of_many_processes_gets_the_job(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    code = """
print("ready", flush=True)
sys.stdin.readline(); sys.stdin.readline()
try:
    print(queue.claim(job, os.getpid()).pid, flush=True)
    sys.stdin.readline()
except InputError:
    print("late", flush=True)
"""
    with process(queue, job, code) as a, process(queue, job, code) as b, process(queue, job, code) as c:
        for child in (a, b, c):
            assert child.stdin
            child.stdin.write("\n")
            child.stdin.flush()
        said = [child.stdout.readline().strip() for child in (a, b, c) if child.stdout]
        assert sorted(said)[1:] == ["late", "late"]
        assert queue.get(job.id).pid == int(min(said))


def test_a_job_whose_worker_was_killed_is_interrupted(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    with process(queue, job, "queue.claim(job, os.getpid()); print('ready', flush=True); time.sleep(60)") as child:
        assert queue.get(job.id).state is JobState.RUNNING
        child.send_signal(signal.SIGKILL)
        # Not waited for: until its parent does, a dead process keeps its pid.
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        (seen,) = queue.list()
    assert seen.state is JobState.INTERRUPTED and seen.ended and seen.error and "log.txt" in seen.error
    assert queue.get(job.id) == seen


def test_another_process_with_the_same_pid_is_not_the_worker(queue: Queue) -> None:
    id = queue.submit("run", RECIPE).id
    started = psutil.Process(queue.claim(id, psutil.Process().pid).pid).create_time()
    with queue.database.begin() as connection:
        connection.execute(update(jobs).values(pid_started=started - 3600))
    assert queue.get(id).state is JobState.INTERRUPTED


def test_stopping_a_running_job_asks_its_worker(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    code = """
queue.claim(job, os.getpid())
print("ready", flush=True)
while not queue.is_to_stop(job):
    time.sleep(0.01)
queue.finish(job, os.getpid(), JobState.STOPPED)
"""
    with process(queue, job, code) as child:
        assert queue.stop(job.id).id == job.id
        assert child.wait(30) == 0
    assert queue.get(job.id).state is JobState.STOPPED


def test_events_come_back_as_they_were_told(queue: Queue) -> None:
    id = queue.submit("run", RECIPE).id
    assert queue.read_events(id) == ((), 0)
    queue.append(id, Event("stage", {"name": "check"}))
    events, offset = queue.read_events(id)
    queue.append(id, Event("step", {"loss": np.float32(0.5), "note": "zwei\nZeilen \u2028 …", "nan": float("nan")}))
    later, end = queue.read_events(id, offset)
    assert events == (Event("stage", {"name": "check"}),)
    assert later == (Event("step", {"loss": 0.5, "note": "zwei\nZeilen \u2028 …", "nan": None}),)
    assert queue.read_events(id, end) == ((), end)


def test_half_a_line_waits_and_is_cut_when_the_job_goes_on(queue: Queue) -> None:
    id = queue.submit("run", RECIPE).id
    queue.append(id, Event("note", {"n": 1}))
    story = queue.folder(id) / "events.jsonl"
    whole = story.read_bytes()
    story.write_bytes(whole + b'{"kind":"note","da')
    assert queue.read_events(id) == ((Event("note", {"n": 1}),), len(whole))
    queue.claim(id, psutil.Process().pid)
    queue.append(id, Event("note", {"n": 2}))
    assert [event.data["n"] for event in queue.read_events(id)[0]] == [1, 2]


def test_two_writers_do_not_mix_their_lines(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    code = "print('ready', flush=True)\nfor n in range(300): queue.append(job, Event('note', {'text': 'x' * 5000}))"
    with process(queue, job, code) as a, process(queue, job, code) as b:
        assert (a.wait(), b.wait()) == (0, 0)
    assert len(queue.read_events(job.id)[0]) == 600


def test_following_ends_with_the_job_and_misses_nothing(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    code = """
print("ready", flush=True)
queue.claim(job, os.getpid())
for n in range(50):
    queue.append(job, Event("step", {"n": n}))
    time.sleep(0.005)
queue.append(job, Event("result", {}))
queue.finish(job, os.getpid(), JobState.SUCCEEDED, model="faq@1")
"""
    with process(queue, job, code) as child:
        events = list(queue.follow(job.id))
        assert child.wait(30) == 0
    assert [event.data.get("n") for event in events] == [*range(50), None]
