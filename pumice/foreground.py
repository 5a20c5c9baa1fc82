"""A job with a person watching: its worker is started, its story told, and ctrl-C stops it after a checkpoint.

Does not know what is printed, nor what the job does.
"""

from __future__ import annotations

import time

from pumice.jobs.launch import Launcher
from pumice.jobs.queue import POLL_SECONDS, Queue
from pumice.records import Event, Job, Tell


def watch(job: Job, queue: Queue, launcher: Launcher, tell: Tell) -> Job:
    """Run a queued job and tell its events as they come, not those of earlier attempts; the job in its last state."""
    _, offset = queue.read_events(job.id)
    worker = launcher.start(job.id)
    running = True
    while running:
        try:
            # Looked at before reading: what was told before the end is never missed.
            running = worker.returncode is None
            events, offset = queue.read_events(job.id, offset)
            for event in events:
                tell(event)
            time.sleep(POLL_SECONDS if running else 0)
        except KeyboardInterrupt:
            tell(Event("note", {"text": "Stopping after a checkpoint …"}))
            worker.stop()
    return worker.wait()
