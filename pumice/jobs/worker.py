"""One job in one process of its own: `python -m pumice.jobs.worker JOB_ID`. Knows no terminal, only the job's folder.

It ends early, with a checkpoint, on SIGTERM or SIGINT, and when its stdin closes because its parent is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass

from pumice.config import read_environment
from pumice.errors import DataError, PumiceError, StoppedError
from pumice.jobs.queue import Queue
from pumice.records import Event, Job, JobState
from pumice.store.tables import open_database

BROKEN = "This is a fault of Pumice, or of something that it is built on, not of your input."


@dataclass
class Stop:
    """Whether the job shall end early. No `threading.Event`: its lock can stop a signal handler for ever."""

    asked: bool = False

    def ask(self) -> None:
        """From any thread or signal handler."""
        self.asked = True


def main(job_id: str) -> int:
    """Do the job and leave its last state; 0 when it succeeded."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.ask())
    threading.Thread(target=watch_parent, args=(stop,), daemon=True).start()
    os.nice(19)  # Training takes what serving leaves over, never the other way round.

    settings = read_environment()
    queue = Queue(open_database(settings.home.database), settings.home)
    state = work(queue, queue.claim(job_id, os.getpid()), stop)
    return 0 if state is JobState.SUCCEEDED else 1


def work(queue: Queue, job: Job, stop: Stop) -> JobState:
    """Run the pipeline; whatever comes of it is the job's state and, if it went wrong, an `error` event."""

    def tell(event: Event) -> None:
        queue.append(job.id, event)

    try:
        from pumice import pipeline

        model = pipeline.run(job, queue.home, tell, lambda: stop.asked)
    except StoppedError as stopped:
        return queue.finish(job.id, JobState.STOPPED, error=stopped.what).state
    except PumiceError as error:
        tell(Event("error", describe(error)))
        return queue.finish(job.id, JobState.FAILED, error=error.what).state
    except Exception as error:
        logging.exception("job %s", job.id)
        what = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        fix = f"The whole trace is in {queue.folder(job.id) / 'log.txt'}"
        tell(Event("error", {"what": what, "why": BROKEN, "fix": fix}))
        return queue.finish(job.id, JobState.FAILED, error=what).state
    return queue.finish(job.id, JobState.SUCCEEDED, model=model.id).state


def describe(error: PumiceError) -> dict[str, object]:
    """An error as the data of an `error` event: what, why, fix, and every finding in a data file."""
    told: dict[str, object] = {"what": error.what, "why": error.why, "fix": error.fix}
    if isinstance(error, DataError):
        told |= {"findings": [asdict(finding) for finding in error.findings], "total": error.total}
    return told


def watch_parent(stop: Stop) -> None:
    """Ask for the end when the other end of stdin is closed."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.ask()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
