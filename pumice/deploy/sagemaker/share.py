"""One process of several that train together: the same plan and the same loop as the one that is alone.

The first one's checkpoints lie in /opt/ml/checkpoints and are the job's. Every other process keeps its own in a folder
that SageMaker does not know, and is given the first one's where a job goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace

from pumice import pipeline
from pumice.deploy.sagemaker import train
from pumice.deploy.sagemaker.container import Container
from pumice.records import Event
from pumice.train import ranks
from pumice.train.spread import spread


def main(container: Container) -> int:
    """Exit code: 0 when it is done, or stopped with a checkpoint; 1 with the reason in `failure`."""
    # Read by torch when a GPU is first asked for: each process has its own.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["LOCAL_RANK"]
    rank = int(os.environ["RANK"])
    stop = container.scratch / "stop"
    return train.ended(container, lambda: together(container, rank, stop.exists))


def together(container: Container, rank: int, should_stop: Callable[[], bool]) -> None:
    """Train, and leave the artifact in the first machine's /opt/ml/model. Raises a `PumiceError`."""
    home = train.home_of(container, rank)
    ours = home.jobs / train.JOB
    with ranks.joined():
        if not ranks.first():
            shutil.rmtree(ours, ignore_errors=True)
        plan, material, job = train.planned(container, home)
        ranks.agree("settings", plan.recipe.model_dump(mode="json", exclude=set(train.CHANNELS)))
        ranks.agree("files", (plan.data_sha256, plan.base.sha256))
        done = ranks.of_first((ours / "artifact").exists())
        if not done:
            ranks.hand_out(container.checkpoints / train.JOB / "checkpoints", ours / "checkpoints")
        plan = replace(plan, recipe=spread(plan.recipe, ranks.count()))
        if ranks.first():
            train.put(pipeline.make(plan, material, job, home, train.tell, should_stop), container)
        elif not done:
            pipeline.make(plan, material, job, home, silent, should_stop)


def silent(_: Event) -> None:
    """One tells the story."""
