"""One job in one process of its own: `python -m pumice.jobs.worker JOB_ID`. Knows no terminal, only the job's folder.

It ends early, with a checkpoint: as stopped when a person asked for it, which is a file in the job's folder; else as
interrupted, to be resumed: on a signal, and when its stdin closes because its parent is gone.
"""

from __future__ import annotations

import itertools
import logging
import os
import select
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass

from pumice.config import read_environment
from pumice.engine.leash import stand_back
from pumice.errors import ConflictError, DataError, PumiceError, StoppedError
from pumice.jobs.queue import LATE, Queue
from pumice.records import Event, Job, JobState
from pumice.store.tables import open_database

BEAT_SECONDS = 5
BROKEN = "This is a fault of Pumice, or of something that it is built on, not of your input."


PARENT_GONE = "Whoever started this job has ended."
SIGNALLED = "The worker was told to end by a signal, as at a shutdown."
ASKED = "Asked to stop."
TAKEN = "The job was taken for dead and goes on elsewhere."


@dataclass
class Stop:
    """Why the job shall end early. No `threading.Event`: its lock can stop a signal handler for ever."""

    reason: str = ""

    @property
    def asked(self) -> bool:
        """Whether there is a reason."""
        return bool(self.reason)

    def ask(self, reason: str) -> None:
        """From any thread or signal handler; the first reason stays."""
        self.reason = self.reason or reason


def main(job_id: str) -> int:
    """Do the job and leave its last state; 0 when it succeeded, `LATE` when it was not its own."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.ask(SIGNALLED))
    stand_back()  # Training takes what serving leaves over, never the other way round.

    settings = read_environment()
    database = open_database(settings.home.database)
    queue = Queue(database, settings.home)
    # Looked at here and not in the thread, which on a busy machine may not have run yet.
    if stop.asked or parent_has_gone():
        return LATE
    threading.Thread(target=watch_parent, args=(stop,), daemon=True).start()
    try:
        job = queue.claim(job_id, os.getpid())
        threading.Thread(target=live, args=(queue, job_id, stop), daemon=True).start()
        state = work(queue, job, stop)
    except ConflictError as late:
        print(late.what)
        return LATE
    finally:
        database.dispose()
    return 0 if state is JobState.SUCCEEDED else 1


def work(queue: Queue, job: Job, stop: Stop) -> JobState:
    """Do the task; whatever comes of it is the job's state and, if it went wrong, an `error` event."""

    def tell(event: Event) -> None:
        queue.append(job.id, event)

    def finish(state: JobState, model: str | None = None, error: str | None = None) -> JobState:
        return queue.finish(job.id, os.getpid(), state, model, error).state

    try:
        # Late, so that a job that shall not begin ends without paying for torch.
        from pumice.jobs.tasks import TASKS

        model = TASKS[job.task](job, queue.home, tell, lambda: stop.asked)
    except StoppedError as stopped:
        if stop.reason == ASKED or queue.is_to_stop(job.id):
            return finish(JobState.STOPPED, error=stopped.what)
        # In good order, which a server tells from a crash: it resumes such a job however often.
        tell(Event("note", {"text": stop.reason, "in_order": True}))
        return finish(JobState.INTERRUPTED, error=f"{stop.reason} {stopped.what}")
    except PumiceError as error:
        tell(Event("error", describe(error)))
        return finish(JobState.FAILED, error=error.what)
    except Exception as error:
        logging.exception("job %s", job.id)
        what = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        fix = f"The whole trace is in {queue.folder(job.id) / 'log.txt'}"
        tell(Event("error", {"what": what, "why": BROKEN, "fix": fix}))
        return finish(JobState.FAILED, error=what)
    return finish(JobState.SUCCEEDED, model=model.id if model else None)


def describe(error: PumiceError) -> dict[str, object]:
    """An error as the data of an `error` event: what, why, fix, and every finding in a data file."""
    told: dict[str, object] = {"what": error.what, "why": error.why, "fix": error.fix}
    if isinstance(error, DataError):
        told |= {"findings": [asdict(finding) for finding in error.findings], "total": error.total}
    return told


def parent_has_gone() -> bool:
    """Whether the other end of stdin is closed: nobody writes to it, so only its end can be read."""
    return bool(select.select([sys.stdin.fileno()], [], [], 0)[0])


def watch_parent(stop: Stop) -> None:
    """Ask for the end when the other end of stdin is closed."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.ask(PARENT_GONE)


def live(queue: Queue, id: str, stop: Stop) -> None:
    """Listen each second for a person's wish to stop, and say every fifth that this worker lives."""
    for second in itertools.count():
        try:
            if queue.is_to_stop(id):
                stop.ask(ASKED)
            if second % BEAT_SECONDS == 0 and not queue.beat(id, os.getpid()):
                stop.ask(TAKEN)
        except Exception:
            # A database that is away for a while is no reason to lose hours of training.
            logging.exception("heartbeat of job %s", id)
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
