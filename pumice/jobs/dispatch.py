"""The jobs that a server starts: the oldest first, one after the other, and again after a crash.

Knows neither what a job does nor who submitted it. Everything that it must remember is in the jobs and their stories,
so that the next server goes on where a killed one was; several servers may share one database.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from pumice.jobs.launch import Launcher, Running
from pumice.jobs.queue import HOST, Queue
from pumice.records import Event, Job, JobState

LOGGER = logging.getLogger("pumice")
LOOK_SECONDS = 1.0
CLOSE_SECONDS = 30.0
"""How long `close` waits for checkpoints; a worker that takes longer ends by itself later."""
ATTEMPTS = 3
"""How often a job is begun without getting further before it is given up."""
ENOUGH = """Interrupted {count} times without getting further; it is not tried again. The last time: {reason}"""
WAY_OUT = "Free memory or lower batch_size or max_length if that was it, then: pumice jobs resume {id}"


class Dispatcher:
    """One thread that looks after the background jobs of a queue."""

    def __init__(self, queue: Queue, launcher: Launcher, on_end: Callable[[Job], None] = lambda job: None) -> None:
        """`on_end` gets each background job that reached its last state while this dispatcher looked on."""
        self._queue, self._launcher, self._on_end = queue, launcher, on_end
        self._workers: dict[str, Running] = {}
        self._open: set[str] = set()
        self._nudged = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to look after the jobs; what an earlier server left is resumed."""
        self._thread.start()

    def nudge(self) -> None:
        """There is something to do now, such as a new job."""
        self._nudged.set()

    def close(self) -> None:
        """Start nothing more, and let every worker write a checkpoint and end; the next server resumes their jobs."""
        self._closing = True
        self.nudge()
        if self._thread.is_alive():
            self._thread.join()
        for worker in self._workers.values():
            worker.release()
        until = time.monotonic() + CLOSE_SECONDS
        while self._workers and time.monotonic() < until:
            self._guarded(self._reap)
            time.sleep(0.05)
        for id in self._workers:
            LOGGER.warning("job %s is still writing its checkpoint; it ends by itself.", id)

    def _run(self) -> None:
        while not self._closing:
            self._guarded(self._look)
            self._nudged.wait(LOOK_SECONDS)
            self._nudged.clear()

    def _guarded(self, step: Callable[..., None], *given: Job) -> None:
        try:
            step(*given)
        except Exception:
            # A database that is away for a while must not end the thread that everybody waits for.
            LOGGER.exception("dispatcher")

    def _look(self) -> None:
        """One round: what has ended, what was interrupted, what can start."""
        self._reap()
        left = self._queue.unended()
        self._open |= {job.id for job in left}
        for job in left:
            if job.state is JobState.INTERRUPTED and job.id not in self._workers:
                self._again(job)
        jobs = self._queue.unended()
        self._tell_ends({job.id for job in jobs})
        self._fill(jobs)

    def _reap(self) -> None:
        """Let go of the workers that have ended; how, they or their signal say in the job."""
        for id, worker in list(self._workers.items()):
            if worker.returncode is not None:
                worker.wait()
                del self._workers[id]

    def _again(self, job: Job) -> None:
        """Queue an interrupted job once more, stop it if that is wanted, or give it up."""
        if self._queue.is_to_stop(job.id):
            self._queue.stop(job.id)
            return
        tried = fruitless(self._queue.read_events(job.id)[0])
        if tried + 1 < ATTEMPTS:
            text = f"Interrupted: {job.error} It is tried again."
            self._queue.append(job.id, Event("note", {"text": text, "again": tried + 1}))
            self._queue.again(job.id)
            return
        what, fix = ENOUGH.format(count=ATTEMPTS, reason=job.error), WAY_OUT.format(id=job.id)
        if self._queue.give_up(job.id, f"{what} {fix}"):
            self._queue.append(job.id, Event("error", {"what": what, "why": "", "fix": fix}))

    def _tell_ends(self, open_: set[str]) -> None:
        """Hand over what was open at the last look and has ended since."""
        before, self._open = self._open, open_
        for id in sorted(before - open_):
            job = self._queue.get(id)
            LOGGER.info(
                "job %s has %s%s", id, job.state, f": {job.model or job.error}" if job.model or job.error else ""
            )
            self._guarded(self._on_end, job)

    def _fill(self, jobs: Iterable[Job]) -> None:
        """Start the oldest queued job where none is at work here: two at once wait for each other's threads."""
        if any(self._is_here(job) for job in jobs):
            return
        if job := next((job for job in jobs if job.state is JobState.QUEUED), None):
            self._workers[job.id] = self._launcher.start(job.id)
            LOGGER.info("job %s is started", job.id)

    def _is_here(self, job: Job) -> bool:
        return job.id in self._workers or (job.state is JobState.RUNNING and job.host == HOST)


def fruitless(story: Iterable[Event]) -> int:
    """How often a job was queued again since it last got further, ended in good order, or was resumed by a person."""
    count = 0
    for event in story:
        if event.kind in ("checkpoint", "report", "error") or event.data.get("in_order"):
            count = 0
        elif "again" in event.data:
            count += 1
    return count
