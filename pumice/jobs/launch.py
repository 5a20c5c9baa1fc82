"""Where a job's worker process is started. Knows how it ended, not what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Protocol

from pumice.errors import InputError
from pumice.jobs.queue import LATE, Queue
from pumice.records import Job


class Running(Protocol):
    """A worker that was started."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """None while the worker runs; negative: the signal that killed it."""
        ...

    def wait(self) -> Job:
        """The job in its last state, as soon as the worker has ended."""
        ...

    def stop(self) -> None:
        """A person wants the job to end: ask the worker for a checkpoint and its end; idempotent."""
        ...

    def release(self) -> None:
        """Whoever started the worker goes: it writes a checkpoint and ends, to be resumed later; idempotent."""
        ...


class Launcher(Protocol):
    """A place that workers run at."""

    def start(self, job_id: str) -> Running:
        """Start a worker for a queued job. The worker ends by itself when the process that started it is gone."""
        ...


class Here:
    """Workers as child processes of this one."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def start(self, job_id: str) -> Child:
        """Raises `NotFoundError` for an unknown job. What the worker prints goes to its `log.txt`."""
        job, home = self.queue.get(job_id), self.queue.home
        folder = self.queue.folder(job_id)
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pumice.jobs.worker", job_id],
                # The worker holds the other end: it reads the end of the file when this process dies, however it dies.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PUMICE_HOME": str(home.root), "PUMICE_DATABASE": home.server or ""},
                # Ctrl-C in the terminal reaches this process alone, which then decides what becomes of the worker.
                # No session of its own: between sessions Linux ignores niceness (sched_autogroup).
                process_group=0,
            )
        return Child(job, process, self.queue)


class Child:
    """A worker on this machine. Its death without a word becomes the job's state `interrupted`, with the reason."""

    def __init__(self, job: Job, process: subprocess.Popen[bytes], queue: Queue) -> None:
        self.job, self.pid = job, process.pid
        self._process, self._queue = process, queue

    @property
    def returncode(self) -> int | None:
        """None while the worker runs; negative: the signal that killed it."""
        return self._process.poll()

    def wait(self) -> Job:
        """The job in its last state, as soon as the worker has ended."""
        code = self._process.wait()
        self.release()
        if code == LATE:
            return self._queue.get(self.job.id)
        return self._queue.interrupt(self.job.id, self.pid, farewell(code), self.job.attempts)

    def stop(self) -> None:
        """A person wants the job to end: ask the worker for a checkpoint and its end; idempotent."""
        # It may have ended in this moment, which is what was wanted.
        with suppress(InputError):
            self._queue.stop(self.job.id)

    def release(self) -> None:
        """Whoever started the worker goes: it writes a checkpoint and ends, to be resumed later; idempotent."""
        assert self._process.stdin
        self._process.stdin.close()


def farewell(code: int) -> str:
    """What an exit code says of a worker that left no word itself."""
    match -code:
        case signal.SIGKILL:
            return "The worker was killed by signal 9 (SIGKILL): most often the machine ran out of memory."
        case number if number > 0:
            return f"The worker was killed by signal {number} ({signal.strsignal(number)}); see log.txt."
    return f"The worker ended with code {code} and left no word; see log.txt."
