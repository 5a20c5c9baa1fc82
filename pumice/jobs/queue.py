"""The jobs: one table, one state diagram, and each job's story. Knows neither what a job does nor who asked for it.

Every move is one UPDATE that names the state it leaves, so that two processes never make the same move.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson
import psutil
from sqlalchemy import Engine, RowMapping, insert, or_, select, update

from pumice.config import Home
from pumice.errors import InputError, NotFoundError
from pumice.records import Event, Job, JobState, Task
from pumice.store.files import write_atomic
from pumice.store.tables import jobs

ARROWS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.STOPPED, JobState.INTERRUPTED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED, JobState.INTERRUPTED}),
    JobState.STOPPED: frozenset({JobState.QUEUED}),
    JobState.INTERRUPTED: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
}
"""The state diagram. A queued job is interrupted when its worker dies before it has begun."""
ENDED = frozenset(JobState) - {JobState.QUEUED, JobState.RUNNING}
VANISHED = "The worker process is gone and left no word; what it printed is in log.txt."
POLL_SECONDS = 0.1
SAME_START_SECONDS = 5.0
"""The clock may be set while a job runs; no pid is used again this soon after its first use."""


class Queue:
    """The jobs of one home. A running job whose process is gone is marked as interrupted by whoever looks at it."""

    def __init__(self, database: Engine, home: Home) -> None:
        self.database, self.home = database, home

    def submit(self, task: Task, spec: Mapping[str, Any]) -> Job:
        """A new queued job with its folder. `spec` is plain JSON; its `name`, or else its `data`, gives the id."""
        id = self._take_folder(spec.get("name") or Path(spec["data"]).stem)
        write_atomic(self.folder(id) / "spec.json", orjson.dumps(spec, option=orjson.OPT_INDENT_2))
        job = {"id": id, "task": task, "state": JobState.QUEUED, "spec": spec, "created": datetime.now(UTC)}
        with self.database.begin() as connection:
            connection.execute(insert(jobs).values(job))
        return self.get(id)

    def get(self, id: str) -> Job:
        """One job as it stands now. Raises `NotFoundError` with the nearest ids."""
        row = self._row(id)
        if row is None:
            with self.database.connect() as connection:
                near = get_close_matches(id, connection.execute(select(jobs.c.id)).scalars().all(), cutoff=0.4)
            why = f"Near to it: {', '.join(near)}." if near else ""
            raise NotFoundError(f"There is no job {id!r}.", why, "See every job: pumice jobs list")
        return self._seen(row)

    def list(self) -> tuple[Job, ...]:
        """Every job, the newest first."""
        with self.database.connect() as connection:
            rows = connection.execute(select(jobs).order_by(jobs.c.created.desc(), jobs.c.id)).mappings().all()
        return tuple(self._seen(row) for row in rows)

    def claim(self, id: str, pid: int) -> Job:
        """Take a queued job for the process `pid`. Raises `InputError` when it is not queued any more."""
        started = psutil.Process(pid).create_time()
        values = {"pid": pid, "pid_started": started, "started": datetime.now(UTC)}
        if not self._move(id, JobState.QUEUED, JobState.RUNNING, values):
            raise InputError(f"Job {id} is {self.get(id).state}; only a queued job can be started.")
        mend(self._story(id))
        return self.get(id)

    def finish(self, id: str, state: JobState, model: str | None = None, error: str | None = None) -> Job:
        """Give a running job its last state, with the registered `name@version` or a sentence on what went wrong."""
        values = {"ended": datetime.now(UTC), "model": model, "error": error}
        moved = self._move(id, JobState.RUNNING, state, values)
        assert moved, f"job {id} was not running"
        return self.get(id)

    def interrupt(self, id: str, pid: int, sentence: str) -> Job:
        """Say why the worker `pid` died without a last state. Changes nothing when it left one."""
        mine = (jobs.c.state.in_([JobState.RUNNING, JobState.INTERRUPTED])) & (jobs.c.pid == pid)
        unclaimed = jobs.c.state == JobState.QUEUED
        values = {"state": JobState.INTERRUPTED, "ended": datetime.now(UTC), "error": sentence}
        with self.database.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == id, or_(mine, unclaimed)).values(values))
        return self.get(id)

    def resume(self, id: str) -> Job:
        """Queue a job that ended early once more; its worker goes on from what lies in its folder.

        A queued job is left as it is. Raises `InputError` for one that is running or has succeeded.
        """
        job = self.get(id)
        if job.state is JobState.QUEUED:
            return job
        values = {"pid": None, "pid_started": None, "ended": None, "error": None}
        if JobState.QUEUED not in ARROWS[job.state] or not self._move(id, job.state, JobState.QUEUED, values):
            state = self.get(id).state
            fix = f"See it: pumice jobs {'show' if state in ENDED else 'logs --follow'} {id}"
            raise InputError(f"Job {id} is {state}; there is nothing to resume.", fix=fix)
        return self.get(id)

    def stop(self, id: str) -> Job:
        """Take a queued job off, or ask a running job's worker to write a checkpoint and end.

        Does not wait for the worker, which moves the job itself. Raises `InputError` for a job that has ended.
        """
        self._move(id, JobState.QUEUED, JobState.STOPPED, {"ended": datetime.now(UTC)})
        job = self.get(id)
        if job.state is JobState.RUNNING:
            assert job.pid is not None
            with suppress(psutil.NoSuchProcess):
                psutil.Process(job.pid).terminate()
        elif job.state is not JobState.STOPPED:
            raise InputError(f"Job {id} is {job.state} already.", fix=f"See it: pumice jobs show {id}")
        return self.get(id)

    def folder(self, id: str) -> Path:
        """`jobs/<id>/`: recipe, events, log and checkpoints."""
        return self.home.jobs / id

    def append(self, id: str, event: Event) -> None:
        """Add a line to the job's story, in one write. Numbers may be numpy's; not-a-number becomes null."""
        line = {"at": datetime.now(UTC), "kind": event.kind, "data": event.data}
        content = orjson.dumps(line, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
        handle = os.open(self._story(id), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, content)
        finally:
            os.close(handle)

    def read_events(self, id: str, offset: int = 0) -> tuple[tuple[Event, ...], int]:
        """The whole lines from byte `offset` on, and the offset to go on from; a half line is left for later."""
        try:
            with self._story(id).open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return (), offset
        whole = content[: content.rfind(b"\n") + 1]
        lines = [orjson.loads(line) for line in whole.splitlines()]
        return tuple(Event(line["kind"], line["data"]) for line in lines), offset + len(whole)

    def follow(self, id: str, offset: int = 0) -> Iterator[Event]:
        """The job's events as they come, until it has ended and all of them are told."""
        while True:
            # Looked at before reading: what was told before the end is never missed.
            ended = self.get(id).state in ENDED
            events, offset = self.read_events(id, offset)
            yield from events
            if ended:
                return
            if not events:
                time.sleep(POLL_SECONDS)

    def _story(self, id: str) -> Path:
        return self.folder(id) / "events.jsonl"

    def _take_folder(self, name: str) -> str:
        """A readable id that no job has, taken by making its folder: two processes never get the same one."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "job"
        while True:
            id = f"{slug}-{secrets.token_hex(2)}"
            self.home.jobs.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.folder(id).mkdir()
                return id

    def _row(self, id: str) -> RowMapping | None:
        with self.database.connect() as connection:
            return connection.execute(select(jobs).where(jobs.c.id == id)).mappings().one_or_none()

    def _move(self, id: str, before: JobState, after: JobState, values: Mapping[str, Any]) -> bool:
        """Follow one arrow; False when the job does not stand where the arrow begins."""
        assert after in ARROWS[before], f"no arrow from {before} to {after}"
        with self.database.begin() as connection:
            there = update(jobs).where(jobs.c.id == id, jobs.c.state == before)
            return connection.execute(there.values({"state": after, **values})).rowcount == 1

    def _seen(self, row: RowMapping) -> Job:
        """The row as a job, after its process was looked for."""
        if row["state"] == JobState.RUNNING and not alive(row["pid"], row["pid_started"]):
            # Its last words may have come after the row was read: only a job that still runs is moved.
            lost = update(jobs).where(jobs.c.id == row["id"], jobs.c.state == row["state"], jobs.c.pid == row["pid"])
            with self.database.begin() as connection:
                connection.execute(lost.values(state=JobState.INTERRUPTED, ended=datetime.now(UTC), error=VANISHED))
            row = self._row(row["id"]) or row
        known = {key: value for key, value in row.items() if key != "pid_started"}
        return Job(**{**known, "state": JobState(row["state"])})


def alive(pid: int, started: float) -> bool:
    """Whether the process that had `pid` and began at `started`, in seconds since the epoch, still runs."""
    try:
        process = psutil.Process(pid)
        same: bool = abs(process.create_time() - started) < SAME_START_SECONDS
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def mend(story: Path) -> None:
    """Cut off the half line that a killed worker left; nobody has read it."""
    if story.exists():
        content = story.read_bytes()
        os.truncate(story, content.rfind(b"\n") + 1)
