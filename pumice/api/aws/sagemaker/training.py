"""Training jobs: a recipe in hyper-parameters, data in channels. The job itself is one of the queue's.

Two forms of the same: script mode with Pumice's own entry, and the serverless job that names a base and a technique.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.api import training
from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import find_entry, tail
from pumice.api.aws.sagemaker import kept, packages
from pumice.api.aws.sagemaker.models import version_or_base
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.api.openai.refusals import near
from pumice.api.platform import Platform
from pumice.api.training import Story, read_story
from pumice.bases.resolve import DEFAULT
from pumice.errors import ConflictError
from pumice.records import Document, Job, JobState
from pumice.store.s3 import Objects
from pumice.train.methods import METHODS
from pumice.train.recipe import Recipe

WORD = "training-job"
TECHNIQUES = {"SFT": None, "DPO": "dpo", "RLVR": "rlhf", "RLAIF": "rlhf"}
"""The method behind each technique of a serverless job; None leaves the choice to the recipe."""
STATUS = {
    JobState.QUEUED: "InProgress",
    JobState.RUNNING: "InProgress",
    # The dispatcher begins it again.
    JobState.INTERRUPTED: "InProgress",
    JobState.STOPPED: "Stopped",
    JobState.FAILED: "Failed",
    JobState.SUCCEEDED: "Completed",
}
SECONDARY = {
    "": "Starting",
    "check": "Downloading",
    "train": "Training",
    "evaluate": "Training",
    "register": "Uploading",
}
"""What SageMaker calls the stage that a job is in."""


@SAGEMAKER.operation
def create_training_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Queue a training. The entry is Pumice's own; an image that holds another program is refused."""
    platform, name = call.platform, request["TrainingJobName"]
    values = {"name": name, **_recipe(platform, request)}
    data, validation = _channels(platform, request)
    training.check_model(platform, str(values.get("model", DEFAULT)))
    kind = kept.kind_of(WORD)
    try:
        platform.documents.add(kind, name, {"request": request, "job": None})
    except ConflictError as error:
        raise AwsError("ResourceInUse", f"There is a training job {name!r} already; choose another name.") from error
    try:
        job = training.submit(platform, values, data, validation)
    except BaseException:
        platform.documents.delete(kind, name)
        raise
    platform.documents.change(kind, name, job=job.id)
    return {"TrainingJobArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
def describe_training_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A job with its statuses, its metrics and, once it is done, where its artifact lies."""
    platform = call.platform
    found = kept.get(platform, WORD, request["TrainingJobName"])
    job = settled(platform, found)
    found = kept.get(platform, WORD, found.name)
    story = read_story(platform, job)
    fields = ("HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig",
              "ResourceConfig", "ServerlessJobConfig", "ModelPackageConfig", "Environment")  # fmt: skip
    asked = {key: found.body["request"][key] for key in fields if key in found.body["request"]}
    times = {"TrainingStartTime": job.started, "TrainingEndTime": job.ended}
    seconds = int((job.ended - job.started).total_seconds()) if job.ended and job.started else None
    return {
        **asked,
        **_summary(platform, found, job),
        "SecondaryStatus": _secondary(platform, job, story),
        "SecondaryStatusTransitions": _transitions(platform, job, story),
        "ModelArtifacts": {"S3ModelArtifacts": found.body.get("artifact", "")},
        "StoppingCondition": found.body["request"].get("StoppingCondition", {}),
        "FinalMetricDataList": _metrics(story, job),
        **{key: at for key, at in times.items() if at},
        **({"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds} if seconds is not None else {}),
        **({"FailureReason": (job.error or "")[:1024]} if job.state is JobState.FAILED else {}),
        **({"OutputModelPackageArn": found.body["package"]} if "package" in found.body else {}),
    }


@SAGEMAKER.operation
def list_training_jobs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Jobs by name, status and time."""
    platform = call.platform
    found, following = kept.page(
        platform, WORD, request, lambda each: _summary(platform, each, settled(platform, each))
    )
    return {"TrainingJobSummaries": found, **following}


@SAGEMAKER.operation
def stop_training_job(call: Call, request: dict[str, Any]) -> None:
    """Have the job write a checkpoint and end."""
    found = kept.get(call.platform, WORD, request["TrainingJobName"])
    job = _job(call.platform, found)
    if STATUS[job.state] != "InProgress":
        raise AwsError("ValidationException", f"Training job {found.name} is {STATUS[job.state]} already.")
    call.platform.queue.stop(job.id)
    call.platform.nudge()


def settled(platform: Platform, found: Document) -> Job:
    """The job of a document; once it has succeeded its artifact is in S3, and in a package where one was asked for."""
    job = _job(platform, found)
    if job.state is not JobState.SUCCEEDED or "artifact" in found.body or job.model is None:
        return job
    name, request = found.name, found.body["request"]
    model = platform.registry.find(job.model)
    prefix = request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    artifact = f"{prefix}/{name}/output/model.tar.gz"
    Objects(platform.home.s3).put(artifact, packed(model.folder))
    made = {"artifact": artifact, "model": model.id}
    if group := request.get("ModelPackageConfig", {}).get("ModelPackageGroupArn"):
        made["package"] = packages.add(platform, tail(group), {"served": model.id, "data": artifact, "request": {}})
    platform.documents.change(found.kind, name, **made)
    return job


def settle_ended(platform: Platform, job: Job) -> None:
    """What is owed to a job that has just ended; nothing when it came over another wire."""
    for found in platform.documents.list(kept.kind_of(WORD)):
        if found.body["job"] == job.id:
            settled(platform, found)


def packed(folder: Path) -> bytes:
    """A folder as `model.tar.gz`, without its name."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return content.getvalue()


def _job(platform: Platform, found: Document) -> Job:
    if found.body["job"] is None:
        raise AwsError("ValidationException", f"Training job {found.name} was never queued: the server ended before.")
    return platform.queue.get(found.body["job"])


def _recipe(platform: Platform, request: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe keys, from hyper-parameters and, in a serverless job, from its base and technique."""
    # `sagemaker_*` is what SageMaker's own SDK writes for its containers; those say nothing of the recipe.
    given = {
        key: value for key, value in request.get("HyperParameters", {}).items() if not key.startswith("sagemaker_")
    }
    known = [*Recipe.model_fields, *METHODS]
    for key in given:
        if key.partition(".")[0] not in known or key in ("data", "validation", "name"):
            raise AwsError("ValidationException", f"HyperParameters: {key!r} is no key of a recipe.{near(key, known)}")
    values = training.settings(given)
    if serverless := request.get("ServerlessJobConfig"):
        return {**_serverless(platform, serverless), **values}
    image = request.get("AlgorithmSpecification", {}).get("TrainingImage", "")
    if "pumice" not in image:
        raise AwsError(
            "ValidationException",
            f"AlgorithmSpecification.TrainingImage {image!r} cannot run here: this machine trains with Pumice's own "
            "program. Name the image `pumice`, and put the recipe into HyperParameters.",
        )
    return values


def _serverless(platform: Platform, config: Mapping[str, Any]) -> dict[str, Any]:
    if config["JobType"] != "FineTuning":
        raise AwsError(
            "ValidationException", "ServerlessJobConfig.JobType Evaluation: use Bedrock's CreateEvaluationJob."
        )
    technique = config.get("CustomizationTechnique", "SFT")
    method = TECHNIQUES[technique]
    if method is not None and method not in METHODS:
        raise AwsError("ValidationException", f"CustomizationTechnique {technique} ({method}) cannot be trained yet.")
    base = config["BaseModelArn"]
    # Bases of SageMaker's hub end with their own name: `…/hub-content/Model/NAME/1.0.0`.
    names = [base, *(part for part in tail_parts(base) if find_entry(part))]
    model = version_or_base(platform, names[-1], "ServerlessJobConfig.BaseModelArn")
    length = {"max_length": int(config["SequenceLength"])} if config.get("SequenceLength", "").isdecimal() else {}
    return {"model": model, **({"method": method} if method else {}), **length}


def tail_parts(arn: str) -> list[str]:
    """What stands between slashes in an ARN, and every suffix that may hold a base's id with an owner."""
    parts = arn.split("/")
    return ["/".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1)]


def _channels(platform: Platform, request: Mapping[str, Any]) -> tuple[Path, Path | None]:
    """The one file of the channel `train` (or `training`) and that of `validation`."""
    objects = Objects(platform.home.s3)
    files: dict[str, Path] = {}
    for channel in request.get("InputDataConfig", []):
        name = channel["ChannelName"]
        source = channel["DataSource"].get("S3DataSource")
        if name not in ("train", "training", "validation"):
            raise AwsError("ValidationException", f"InputDataConfig: channel {name!r} is not train or validation.")
        if source is None:
            raise AwsError("ValidationException", f"InputDataConfig.{name}: data comes from an S3DataSource here.")
        found = objects.list(source["S3Uri"])
        if len(found) != 1:
            raise AwsError(
                "ValidationException",
                f"InputDataConfig.{name}: {source['S3Uri']} has {len(found)} objects; a channel holds one data file.",
            )
        files["train" if name == "training" else name] = objects.path(found[0])
    if "train" not in files:
        raise AwsError("ValidationException", "InputDataConfig has no channel `train`.")
    return files["train"], files.get("validation")


def _summary(platform: Platform, found: Document, job: Job) -> dict[str, Any]:
    ended = {"TrainingEndTime": job.ended} if job.ended else {}
    return {
        "TrainingJobName": found.name,
        "TrainingJobArn": kept.arn_of(WORD, found.name),
        "CreationTime": found.created,
        "LastModifiedTime": job.ended or job.started or found.created,
        "TrainingJobStatus": "Stopping" if _stopping(platform, job) else STATUS[job.state],
        **ended,
    }


def _stopping(platform: Platform, job: Job) -> bool:
    return STATUS[job.state] == "InProgress" and platform.queue.is_to_stop(job.id)


def _secondary(platform: Platform, job: Job, story: Story) -> str:
    if _stopping(platform, job):
        return "Stopping"
    if job.state is JobState.INTERRUPTED:
        return "Interrupted"
    if STATUS[job.state] != "InProgress":
        return STATUS[job.state]
    return "Pending" if job.state is JobState.QUEUED else SECONDARY[story.stage]


def _transitions(platform: Platform, job: Job, story: Story) -> list[dict[str, Any]]:
    stages = [("Starting", job.created)]
    if job.started:
        stages.append((_secondary(platform, job, story) if not job.ended else "Training", job.started))
    if job.ended:
        stages.append((STATUS[job.state], job.ended))
    return [{"Status": status, "StartTime": at, "StatusMessage": job.error or ""} for status, at in stages]


def _metrics(story: Story, job: Job) -> list[dict[str, Any]]:
    if not story.steps or not job.started:
        return []
    at = job.ended or job.started
    return [{"MetricName": "train:loss", "Value": story.steps[-1].loss, "Timestamp": at}]
