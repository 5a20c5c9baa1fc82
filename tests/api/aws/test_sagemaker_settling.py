"""What jobs are owed at their end, and that a restart forgets nothing of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from live_server import register, write_adapter

from pumice.api.aws.sagemaker.settling import KIND, Settling
from pumice.api.platform import Platform, open_platform
from pumice.config import Home
from pumice.records import Base, Document, Job, JobState
from pumice.store.tables import open_database

GROUP = {"ModelPackageGroupArn": "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/colours"}


@pytest.fixture
def platform(home: Home, tiny: Base, tmp_path: Path) -> Platform:
    """A platform that does not run, with the version red@1 and a package group."""
    register(home, tiny, "red", write_adapter(tiny, 1000, tmp_path / "red"))
    made = open_platform(home, open_database(home.database))
    made.documents.add("sagemaker-model-package-group", "Colours", {"request": {}, "last": 0})
    return made


def order(platform: Platform, **more: Any) -> Job:
    """A training job `paint` whose worker has begun."""
    job = platform.queue.submit("run", {"name": "paint", "data": "rows.jsonl"}, background=True)
    request = {"OutputDataConfig": {"S3OutputPath": "s3://out/"}, "ModelPackageConfig": GROUP, **more}
    platform.documents.add(KIND, "paint", {"request": request, "sources": {}, "job": job.id})
    return platform.queue.claim(job.id, os.getpid())


def finish(platform: Platform, job: Job) -> Job:
    return platform.queue.finish(job.id, os.getpid(), JobState.SUCCEEDED, model="red@1")


def settled_at_start(platform: Platform, done: Callable[[], Any]) -> None:
    """A server starts, and ends once it is `done`."""

    async def live() -> None:
        part = Settling(platform)
        await part.start()
        while not await asyncio.to_thread(done):
            await asyncio.sleep(0.01)
        await part.stop()

    asyncio.run(asyncio.wait_for(live(), 30))


def paint(platform: Platform) -> Document:
    return platform.documents.get(KIND, "paint")


def test_an_end_that_is_told_twice_makes_one_package(platform: Platform) -> None:
    job = finish(platform, order(platform))
    part = Settling(platform)
    part.ended(job)
    first = dict(paint(platform).body)
    # As after a crash between the package and its entry.
    platform.documents.put(KIND, "paint", {key: first[key] for key in ("request", "sources", "job")})
    part.ended(job)
    assert paint(platform).body == first and first["artifact"] == "s3://out/paint/output/model.tar.gz"
    assert [each.name for each in platform.documents.list("sagemaker-model-package")] == ["Colours/1"]


def test_what_ended_while_no_server_looked_is_delivered_at_the_next_start(platform: Platform) -> None:
    finish(platform, order(platform))
    settled_at_start(platform, lambda: "artifact" in paint(platform).body)
    assert (platform.home.s3 / "out/paint/output/model.tar.gz").is_file()


def test_an_artifact_may_lie_as_files(platform: Platform) -> None:
    output = {"S3OutputPath": "s3://out", "CompressionType": "NONE"}
    Settling(platform).ended(finish(platform, order(platform, OutputDataConfig=output)))
    assert paint(platform).body["artifact"] == "s3://out/paint/output/model/"
    assert (platform.home.s3 / "out/paint/output/model/adapter_config.json").is_file()


def test_an_artifact_that_cannot_be_written_fails_the_job_and_says_where_the_model_is(platform: Platform) -> None:
    (platform.home.s3 / "out").mkdir(parents=True)
    (platform.home.s3 / "out/paint").write_text("A key that begins the artifact's.")
    Settling(platform).ended(finish(platform, order(platform)))
    failure = paint(platform).body["failure"]
    assert failure.startswith("The trained model is red@1, but: s3://out/paint/output/model.tar.gz cannot be written.")


def test_a_restart_does_not_turn_the_clock_back(platform: Platform) -> None:
    job = order(platform, StoppingCondition={"MaxRuntimeInSeconds": 60})
    # Its first worker began two minutes ago; this one has just begun.
    line = {"at": datetime.now(UTC) - timedelta(minutes=2), "kind": "stage", "data": {"name": "check"}}
    (platform.queue.folder(job.id) / "events.jsonl").write_text(json.dumps(line, default=str) + "\n")
    settled_at_start(platform, lambda: platform.queue.is_to_stop(job.id))
    assert paint(platform).body["overdue"] is True


def test_a_job_within_its_time_is_left_alone(platform: Platform) -> None:
    job = order(platform, StoppingCondition={"MaxRuntimeInSeconds": 3600})
    late = platform.queue.submit("run", {"name": "late", "data": "rows.jsonl"}, background=True)
    platform.documents.add(KIND, "late", {**paint(platform).body, "job": None})
    # What was never submitted is forgotten; by then the clocks have been looked at, or will be at once.
    settled_at_start(platform, lambda: platform.documents.find(KIND, "late") is None)
    assert not platform.queue.is_to_stop(job.id) and not platform.queue.is_to_stop(late.id)
