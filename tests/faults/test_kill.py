"""A worker killed at any moment, resumed, ends with the same weights as one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from pumice.config import Home
from pumice.jobs.queue import Queue
from pumice.records import JobState
from pumice.store.files import sha256_folder_weights
from pumice.store.tables import open_database


def test_killed_and_resumed_equals_uninterrupted(
    pumice: object, environment: dict[str, str], home: Home, recipe: Path
) -> None:
    assert callable(pumice)
    whole = pumice("train", recipe, "--name", "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    queue = Queue(open_database(home.database), home)

    command = [sys.executable, "-m", "pumice", "train", str(recipe), "--name", "broken"]
    started = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    steps = sorted(random.sample(range(5, 55), 2))
    print("killed at steps", steps)  # shown by pytest when the test fails
    job = kill_at(queue, steps[0])
    _, story = started.communicate()
    assert started.returncode == 1
    assert f"pumice jobs resume {job}" in story, "the way out is named"

    again = subprocess.Popen([*command[:3], "jobs", "resume", job], env=environment, stderr=subprocess.DEVNULL)
    kill_at(queue, steps[1])
    assert again.wait() == 1
    resumed = pumice("jobs", "resume", job, "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert "Goes on from checkpoint-" in resumed.stderr

    weights = {name: sha256_folder_weights(home.models / name / "1") for name in ("whole", "broken")}
    assert weights["whole"] == weights["broken"]
    assert json.loads(resumed.stdout)["model"] == "broken@1", "a resumed job registers once"


def kill_at(queue: Queue, step: int) -> str:
    """Kill -9 the worker of the job `broken` once it has told of `step`; its id."""
    while True:
        for job in queue.list():
            if job.id.startswith("broken") and job.state is JobState.RUNNING and job.pid:
                told = [event.data["step"] for event in queue.read_events(job.id)[0] if event.kind == "step"]
                if told and told[-1] >= step:
                    os.kill(job.pid, signal.SIGKILL)
                    return job.id
        time.sleep(0.02)


def test_a_stop_keeps_a_checkpoint(environment: dict[str, str], home: Home, recipe: Path) -> None:
    command = [sys.executable, "-m", "pumice", "train", str(recipe), "--name", "stopped"]
    # What is started in the background of a shell, tests among it, inherits that ctrl-C is ignored.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    started = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    queue = Queue(open_database(home.database), home)
    while not (found := [job for job in queue.list() if job.pid]) or not any(
        event.kind == "step" for event in queue.read_events(found[0].id)[0]
    ):
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, story = started.communicate()
    job = queue.get(found[0].id)
    assert (started.returncode, job.state) == (130, JobState.STOPPED), story
    assert f"pumice jobs resume {job.id}" in story
    assert list((home.jobs / job.id / "checkpoints").glob("checkpoint-*/complete.json"))


def test_an_edited_file_is_not_gone_on_with(
    pumice: object, environment: dict[str, str], home: Home, recipe: Path
) -> None:
    assert callable(pumice)
    command = [sys.executable, "-m", "pumice", "train", str(recipe), "--name", "broken"]
    started = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    job = kill_at(Queue(open_database(home.database), home), 1)
    started.wait()
    data = recipe.parent / "facts.jsonl"
    data.write_text(data.read_text().replace("fact 3?", "fact three?"))
    resumed = pumice("jobs", "resume", job)
    assert resumed.returncode == 1
    assert "facts.jsonl has changed since job" in resumed.stderr
