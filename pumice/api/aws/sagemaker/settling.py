"""What training jobs are owed beside the requests: their artifact in S3, their package, their end when time is up."""

from __future__ import annotations

import asyncio
import logging
import tarfile
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept, packages
from pumice.api.background import Part, Tasks
from pumice.api.platform import Platform
from pumice.errors import InputError, PumiceError
from pumice.records import Document, Job, JobState
from pumice.store.s3 import Objects

LOGGER = logging.getLogger(__name__)
WORD = "training-job"
KIND = kept.kind_of(WORD)
LOOK_SECONDS = 1.0
"""How often running jobs are compared with their MaxRuntimeInSeconds."""


class Settling(Part):
    """Brings artifacts to S3 at the end of jobs, and ends jobs that run for too long."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._tasks, self._lock = platform, Tasks(), threading.Lock()

    async def start(self) -> None:
        """Go on with what an earlier server left, then look at the clock until the end."""
        self._tasks.start("training jobs", self._watch())

    async def stop(self) -> None:
        """The next server goes on."""
        await self._tasks.stop()

    def ended(self, job: Job) -> None:
        """Put the artifact where the caller wants it; nothing for a job of another wire."""
        for found in self._platform.documents.list(KIND):
            if found.body["job"] == job.id:
                self._settle(found.name)

    async def _watch(self) -> None:
        await asyncio.to_thread(_guarded, self._catch_up)
        while True:
            await asyncio.to_thread(_guarded, self._end_overdue)
            await asyncio.sleep(LOOK_SECONDS)

    def _catch_up(self) -> None:
        for found in self._platform.documents.list(KIND):
            if found.body["job"] is None:
                # The server ended while it was asked: nobody was told that there is such a job.
                self._platform.documents.delete(KIND, found.name)
            else:
                self._settle(found.name)

    def _end_overdue(self) -> None:
        running = {job.id: job for job in self._platform.queue.unended() if job.started}
        for found in self._platform.documents.list(KIND) if running else ():
            job = running.get(found.body["job"])
            most = found.body["request"].get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
            if job and most and self._seconds(job) > most and not self._platform.queue.is_to_stop(job.id):
                self._platform.documents.change(KIND, found.name, overdue=True)
                # It may have ended in this moment.
                with suppress(InputError):
                    self._platform.queue.stop(job.id)
                self._platform.nudge()

    def _seconds(self, job: Job) -> float:
        """Since its worker first began: what a restart repeats counts too."""
        begun = next((event.at for event in self._platform.queue.read_events(job.id)[0] if event.at), None)
        return (datetime.now(UTC) - begun).total_seconds() if begun else 0.0

    def _settle(self, name: str) -> None:
        # The dispatcher tells ends in its own thread, maybe twice, and a start looks for what was left.
        with self._lock:
            found = self._platform.documents.find(KIND, name)
            if found is None or "artifact" in found.body or "failure" in found.body:
                return
            job = self._platform.queue.get(found.body["job"])
            if job.state is not JobState.SUCCEEDED or job.model is None:
                return
            try:
                changes = self._deliver(found, job.model)
            except (PumiceError, AwsError, OSError) as error:
                LOGGER.warning("training job %s: %s", name, error)
                changes = {"failure": f"The trained model is {job.model}, but: {' '.join(str(error).split())}"}
            self._platform.documents.change(KIND, name, **changes)

    def _deliver(self, found: Document, model: str) -> dict[str, Any]:
        request, version = found.body["request"], self._platform.registry.find(model)
        output = request["OutputDataConfig"]
        top = f"{output['S3OutputPath'].rstrip('/')}/{found.name}/output"
        plain = output.get("CompressionType") == "NONE"
        artifact = (lay_out if plain else pack)(Objects(self._platform.home.s3), version.folder, top)
        made = {"artifact": artifact, "model": version.id}
        if group := request.get("ModelPackageConfig", {}).get("ModelPackageGroupArn"):
            body = {"served": version.id, "data": artifact, "job": found.name, "request": {}}
            made["package"] = packages.add(self._platform, group, body)
        return made


def pack(objects: Objects, folder: Path, top: str) -> str:
    """The address of a folder as `model.tar.gz`, without its name."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        file = Path(place) / "model.tar.gz"
        # Weights hardly shrink, so the least effort is the best.
        with tarfile.open(file, "w:gz", compresslevel=1) as archive:
            for each in sorted(folder.iterdir()):
                archive.add(each, each.name)
        return objects.put(f"{top}/model.tar.gz", file)


def lay_out(objects: Objects, folder: Path, top: str) -> str:
    """The prefix under which the files of a folder lie, each as it is."""
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        objects.put(f"{top}/model/{file.relative_to(folder).as_posix()}", file)
    return f"{top}/model/"


def _guarded(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception:
        # A database that is away for a while must not end the watch.
        LOGGER.exception("training jobs")
