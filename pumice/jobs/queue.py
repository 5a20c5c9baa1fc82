"""The jobs: one table, one state diagram, and each job's story. Knows neither what a job does nor who asked for it.

Every move is one UPDATE that names the state it leaves, so that two processes never make the same move.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson
import psutil
from sqlalchemy import Engine, RowMapping, func, insert, or_, select, true, update

from pumice.config import Home
from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.records import Event, Job, JobState, Task
from pumice.store.files import write_atomic
from pumice.store.tables import jobs

ARROWS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.STOPPED, JobState.INTERRUPTED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED, JobState.INTERRUPTED}),
    JobState.STOPPED: frozenset({JobState.QUEUED}),
    JobState.INTERRUPTED: frozenset({JobState.QUEUED, JobState.STOPPED, JobState.FAILED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
}
"""The state diagram. A queued job is interrupted when its worker dies before it has begun. An interrupted one fails
when it is interrupted again and again, and is stopped when nobody shall resume it."""
ENDED = frozenset(JobState) - {JobState.QUEUED, JobState.RUNNING}
VANISHED = "The worker process is gone and left no word; what it printed is in log.txt."
SILENT = "The worker on {host} has not been heard of for a minute: it died, or that machine did."
HOST = socket.gethostname()
STOP = "stop"
"""A file in the job's folder: its worker polls it, so it is heard on any machine, and by a worker yet to come."""
SILENCE = timedelta(seconds=60)
"""A worker on another machine that says nothing for so long is taken for dead."""
LATE = 75
"""Exit code of a worker whose job another one has taken; it says nothing about the job."""
FRESH = dict.fromkeys(("host", "pid", "pid_started", "heartbeat", "ended", "error"))
"""What a job that is queued once more has forgotten."""
ANY = true()
"""A condition that every row meets."""
POLL_SECONDS = 0.1
SAME_START_SECONDS = 5.0
"""The clock may be set while a job runs; no pid is used again this soon after its first use."""


class Queue:
    """The jobs of one home. A running job whose process is gone is marked as interrupted by whoever looks at it."""

    def __init__(self, database: Engine, home: Home) -> None:
        self.database, self.home = database, home

    def submit(self, task: Task, spec: Mapping[str, Any], background: bool = False) -> Job:
        """A new queued job with its folder. `spec` is plain JSON; its `name`, `data` or `model` gives the id.

        A server starts it when it is a `background` job, as soon as those before it have ended.
        """
        id = self._take_folder(spec.get("name") or Path(spec.get("data") or "").stem or spec.get("model") or "")
        write_atomic(self.folder(id) / "spec.json", orjson.dumps(spec, option=orjson.OPT_INDENT_2))
        job = {"id": id, "task": task, "state": JobState.QUEUED, "spec": spec, "created": datetime.now(UTC)}
        with self.database.begin() as connection:
            connection.execute(insert(jobs).values({**job, "background": background}))
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

    def count(self) -> dict[str, int]:
        """How many jobs are in each state, as the records have it; no process is looked at."""
        wanted = select(jobs.c.state, func.count().label("jobs")).group_by(jobs.c.state)
        with self.database.connect() as connection:
            found = {row.state: row.jobs for row in connection.execute(wanted)}
        return {state.value: found.get(state, 0) for state in JobState}

    def unended(self) -> tuple[Job, ...]:
        """The background jobs that a server has still to do something for, the oldest first."""
        open_ = jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING, JobState.INTERRUPTED])
        wanted = select(jobs).where(jobs.c.background, open_).order_by(jobs.c.created, jobs.c.id)
        with self.database.connect() as connection:
            rows = connection.execute(wanted).mappings().all()
        return tuple(self._seen(row) for row in rows)

    def claim(self, id: str, pid: int) -> Job:
        """Take a queued job for the process `pid` here. Raises `ConflictError` when it is not queued any more."""
        now = datetime.now(UTC)
        whose = {"host": HOST, "pid": pid, "pid_started": psutil.Process(pid).create_time()}
        values = {**whose, "started": now, "heartbeat": now, "attempts": jobs.c.attempts + 1}
        if not self._move(id, JobState.QUEUED, JobState.RUNNING, values):
            raise ConflictError(f"Job {id} is {self.get(id).state}; only a queued job can be started.")
        mend(self._story(id))
        return self.get(id)

    def beat(self, id: str, pid: int) -> bool:
        """Say that the worker `pid` lives; False when the job is not its own any more."""
        its = update(jobs).where(jobs.c.id == id, jobs.c.state == JobState.RUNNING, _is_of(pid))
        with self.database.begin() as connection:
            return connection.execute(its.values(heartbeat=datetime.now(UTC))).rowcount == 1

    def finish(self, id: str, pid: int, state: JobState, model: str | None = None, error: str | None = None) -> Job:
        """Give the job that `pid` runs its last state, with the `name@version` or a sentence on what went wrong.

        Raises `ConflictError` when it was taken for dead, and the job goes on elsewhere.
        """
        values = {"ended": datetime.now(UTC), "model": model, "error": error}
        if not self._move(id, JobState.RUNNING, state, values, _is_of(pid)):
            raise ConflictError(f"Job {id} is not run by process {pid} on {HOST} any more.")
        return self.get(id)

    def interrupt(self, id: str, pid: int, sentence: str, attempts: int) -> Job:
        """Say why the worker `pid` died without a last state. Changes nothing when it left one.

        Of one that died before it began, the job must not have been begun since it had `attempts`.
        """
        missed = (jobs.c.state == JobState.INTERRUPTED) & (jobs.c.error == VANISHED)
        mine = _is_of(pid) & ((jobs.c.state == JobState.RUNNING) | missed)
        unclaimed = (jobs.c.state == JobState.QUEUED) & (jobs.c.attempts == attempts)
        values = {"state": JobState.INTERRUPTED, "ended": datetime.now(UTC), "error": sentence}
        with self.database.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.id == id, or_(mine, unclaimed)).values(values))
        return self.get(id)

    def again(self, id: str) -> bool:
        """Queue an interrupted job once more, for a server; False when it is not interrupted any more."""
        return self._move(id, JobState.INTERRUPTED, JobState.QUEUED, FRESH)

    def give_up(self, id: str, sentence: str) -> bool:
        """Move an interrupted job to failed; False when it is not interrupted any more."""
        return self._move(id, JobState.INTERRUPTED, JobState.FAILED, {"error": sentence})

    def resume(self, id: str) -> Job:
        """Queue a job that ended early once more; its worker goes on from what lies in its folder.

        A queued job is left as it is. Raises `InputError` for one that is running or has succeeded.
        """
        job = self.get(id)
        if job.state is JobState.QUEUED:
            return job
        if job.state in ENDED:
            (self.folder(id) / STOP).unlink(missing_ok=True)
        if JobState.QUEUED not in ARROWS[job.state] or not self._move(id, job.state, JobState.QUEUED, FRESH):
            state = self.get(id).state
            fix = f"See it: pumice jobs {'show' if state in ENDED else 'logs --follow'} {id}"
            raise InputError(f"Job {id} is {state}; there is nothing to resume.", fix=fix)
        return self.get(id)

    def stop(self, id: str) -> Job:
        """Take off a job that nobody runs, or ask its worker, wherever that is, to write a checkpoint and end.

        Does not wait for the worker, which moves the job itself. Raises `InputError` for a job that has ended.
        """
        job = self._take_off(id)
        if job.state is JobState.RUNNING:
            (self.folder(id) / STOP).touch()
            # Its worker may have died in this moment, and no server shall resume what shall stop.
            job = self._take_off(id)
        if job.state not in (JobState.RUNNING, JobState.STOPPED):
            raise InputError(f"Job {id} is {job.state} already.", fix=f"See it: pumice jobs show {id}")
        return job

    def is_to_stop(self, id: str) -> bool:
        """Whether a person asked for the end of a job that was running."""
        return (self.folder(id) / STOP).exists()

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
        events = (Event(line["kind"], line["data"], datetime.fromisoformat(line["at"])) for line in lines)
        return tuple(events), offset + len(whole)

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

    def _take_off(self, id: str) -> Job:
        """Stop the job if nobody runs it."""
        for waiting in (JobState.QUEUED, JobState.INTERRUPTED):
            self._move(id, waiting, JobState.STOPPED, {"ended": datetime.now(UTC)})
        job = self.get(id)
        if job.state is JobState.INTERRUPTED:
            # It was seen only now that its worker is gone.
            self._move(id, JobState.INTERRUPTED, JobState.STOPPED, {})
        return self.get(id)

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

    def _move(self, id: str, before: JobState, after: JobState, values: Mapping[str, Any], only: Any = ANY) -> bool:
        """Follow one arrow; False when the job does not stand where the arrow begins."""
        assert after in ARROWS[before], f"no arrow from {before} to {after}"
        with self.database.begin() as connection:
            there = update(jobs).where(jobs.c.id == id, jobs.c.state == before, only)
            return connection.execute(there.values({"state": after, **values})).rowcount == 1

    def _seen(self, row: RowMapping) -> Job:
        """The row as a job, after its process was looked for."""
        if row["state"] == JobState.RUNNING and (reason := gone(row)):
            # Its last words may have come after the row was read: only a job that still runs is moved.
            last_heard = (jobs.c.pid == row["pid"]) & (jobs.c.heartbeat.is_not_distinct_from(row["heartbeat"]))
            values = {"ended": datetime.now(UTC), "error": reason}
            self._move(row["id"], JobState.RUNNING, JobState.INTERRUPTED, values, last_heard)
            row = self._row(row["id"]) or row
        known = {key: value for key, value in row.items() if key != "pid_started"}
        return Job(**{**known, "state": JobState(row["state"])})


def gone(row: RowMapping) -> str | None:
    """Why the worker of a running job is taken for dead; None while it lives. A pid means something here only."""
    if row["host"] in (None, HOST):
        return None if alive(row["pid"], row["pid_started"]) else VANISHED
    late = row["heartbeat"] is None or datetime.now(UTC) - row["heartbeat"] > SILENCE
    return SILENT.format(host=row["host"]) if late else None


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


def _is_of(pid: int) -> Any:
    """The job is that of process `pid` on this machine."""
    return (jobs.c.pid == pid) & (jobs.c.host == HOST)
