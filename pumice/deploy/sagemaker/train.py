"""The training container: the same recipe, the same plan, the same loop as `pumice train`, over /opt/ml.

Hyper-parameters are recipe keys (`epochs`, `lora.r`); the channels are `train`, `validation` and `base`. The job's
folder lies in the checkpoints, which SageMaker brings back after an interruption, so a job goes on where it was.
"""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pumice import pipeline
from pumice.config import Home
from pumice.deploy.sagemaker.container import Container
from pumice.errors import InputError, PumiceError, StoppedError
from pumice.plan import Material, Plan, decide
from pumice.records import Event, Job, JobState
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train.recipe import Recipe, change

JOB = "training"
CHANNELS = ("data", "validation", "model")
"""Keys of the recipe that the channels say."""


def main(container: Container) -> int:
    """Exit code: 0 when it is done, or stopped with a checkpoint; 1 with the reason in `failure`."""
    stopping = [False]

    def stop(*_: object) -> None:
        stopping[0] = True

    # SageMaker waits 120 seconds after it: time for one checkpoint.
    signal.signal(signal.SIGTERM, stop)
    return ended(container, lambda: train(container, lambda: stopping[0]))


def ended(container: Container, work: Callable[[], None]) -> int:
    """Exit code of some work, of which SageMaker reads how it failed."""
    try:
        work()
    except StoppedError as stopped:
        print(f"{stopped.what} The job goes on from its checkpoint when it is started again.", flush=True)
    except PumiceError as error:
        print(error, flush=True)
        container.fail(str(error))
        return 1
    except Exception as error:
        logging.exception("training")
        container.fail(f"{type(error).__name__}: {error}")
        return 1
    return 0


def train(container: Container, should_stop: Callable[[], bool]) -> None:
    """Train, and leave the artifact in /opt/ml/model. Raises a `PumiceError`."""
    home = home_of(container)
    plan, material, job = planned(container, home)
    put(pipeline.make(plan, material, job, home, tell, should_stop), container)


def planned(container: Container, home: Home) -> tuple[Plan, Material, Job]:
    """What the job will do: the plan in its folder, or a new one. Raises a `PumiceError`."""
    recipe = recipe_of(container)
    job = Job(JOB, "train", JobState.RUNNING, recipe.model_dump(mode="json"), datetime.now(UTC))
    (home.jobs / JOB).mkdir(exist_ok=True)
    database = open_database(home.database)
    try:
        return *decide(job, home, Registry(database, home)), job
    finally:
        database.dispose()


def put(made: pipeline.Outcome, container: Container) -> None:
    """What is in /opt/ml/model is the job's result."""
    shutil.copytree(made.artifact, container.model, dirs_exist_ok=True)


def recipe_of(container: Container) -> Recipe:
    """The hyper-parameters as a recipe over the channels. Raises `InputError`."""
    data = container.channel("train")
    if data is None:
        raise InputError("The job has no channel `train`.", "It holds the data to train on.", "Add it.")
    named = zip(CHANNELS, (data, container.channel("validation"), base_of(container)), strict=True)
    settings = {**container.settings, **{key: str(value) for key, value in named if value}}
    return change(Recipe.from_data(data), settings)


def base_of(container: Container) -> Path | None:
    """The folder of the channel `base`; None where the recipe's own `model` is found by name."""
    folder = container.root / "input" / "data" / "base"
    return folder if folder.is_dir() else None


def home_of(container: Container, rank: int = 0) -> Home:
    """A home of this container's own; the jobs of its first process lie in the checkpoints."""
    home = Home(container.scratch / f"process-{rank}" if rank else container.scratch)
    home.root.mkdir(parents=True, exist_ok=True)
    if rank:
        home.jobs.mkdir(exist_ok=True)
        return home
    container.checkpoints.mkdir(parents=True, exist_ok=True)
    home.jobs.unlink(missing_ok=True)
    home.jobs.symlink_to(container.checkpoints, target_is_directory=True)
    return home


def tell(event: Event) -> None:
    """The story as lines: SageMaker keeps them, and reads numbers out of some."""
    words = " ".join(f"{key}={value}" for key, value in event.data.items() if isinstance(value, str | int | float))
    print(f"{event.kind} {words}", flush=True)
