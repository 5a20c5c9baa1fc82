"""Training jobs: a recipe in hyper-parameters, data in channels. The job itself is one of the queue's.

Two forms of the same: script mode with Pumice's own entry, and the serverless job that names a base and a technique.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.api import training
from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import slug
from pumice.api.aws.sagemaker import kept, packages, progress
from pumice.api.aws.sagemaker.models import version_or_base
from pumice.api.aws.sagemaker.settling import WORD
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.api.openai.refusals import near
from pumice.api.platform import Platform
from pumice.api.training import read_story
from pumice.bases.catalogue import CATALOGUE
from pumice.records import Document, Job
from pumice.store.s3 import Objects, split
from pumice.train import scorers
from pumice.train.recipe import Recipe
from pumice.train.rules import keys_of

TECHNIQUES = {"SFT": None, "DPO": "dpo", "RLVR": "rlhf", "RLAIF": "rlhf"}
"""The method behind each technique of a serverless job; None leaves the choice to `Peft` and the recipe."""
ELSEWHERE = {"data": "channel `train`", "validation": "channel `validation`", "name": "TrainingJobName"}
"""Keys of a recipe that a request says in another place."""
ECHOED = ("HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig",
          "ResourceConfig", "ServerlessJobConfig", "ModelPackageConfig", "Environment")  # fmt: skip
OVER = ("Completed", "Stopped", "Failed")
_HUB = re.compile(r"arn:[^/]*:hub-content/[^/]+/Model/([^/]+)(?:/[\d.]+)?")


@SAGEMAKER.operation
def create_training_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Queue a training. The entry is Pumice's own; an image that holds another program is refused."""
    platform, name = call.platform, request["TrainingJobName"]
    values = {"name": name, **_recipe(platform, request)}
    sources, data, validation = _channels(platform, request)
    split(f"{request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{name}")
    if group := request.get("ModelPackageConfig", {}).get("ModelPackageGroupArn"):
        kept.get(platform, packages.GROUP, group)
    kept.add(platform, WORD, name, {"request": request, "sources": sources, "job": None}, taken="ResourceInUse")
    try:
        job = training.submit(platform, values, data, validation)
    except BaseException:
        kept.delete(platform, WORD, name)
        raise
    platform.documents.change(kept.kind_of(WORD), name, job=job.id)
    return {"TrainingJobArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
def describe_training_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A job with its statuses, its metrics and, once it is done, where its artifact lies."""
    platform = call.platform
    found = _get(platform, request["TrainingJobName"])
    # The job before its document: what is written at a job's end is then seen with it.
    job = platform.queue.get(found.body["job"])
    found = _get(platform, found.name)
    story = read_story(platform, job)
    told = _summary(platform, found, job)
    seconds = max(int((job.ended - job.started).total_seconds()), 1) if job.ended and job.started else None
    return {
        **{key: found.body["request"][key] for key in ECHOED if key in found.body["request"]},
        **told,
        "SecondaryStatusTransitions": progress.transitions(found, job, story, told["SecondaryStatus"]),
        "ModelArtifacts": {"S3ModelArtifacts": found.body.get("artifact", "")},
        "StoppingCondition": found.body["request"].get("StoppingCondition", {}),
        "FinalMetricDataList": progress.metrics(story),
        **({"TrainingStartTime": job.started} if job.started else {}),
        **({"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds} if seconds is not None else {}),
        **({"FailureReason": progress.failure(found, job, story)} if told["TrainingJobStatus"] == "Failed" else {}),
        **({"OutputModelPackageArn": found.body["package"]} if "package" in found.body else {}),
    }


@SAGEMAKER.operation
def list_training_jobs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Jobs by name, status and time."""
    platform = call.platform
    jobs = {job.id: job for job in platform.queue.list()}

    def summary(found: Document) -> dict[str, Any] | None:
        return _summary(platform, found, jobs[found.body["job"]]) if found.body["job"] in jobs else None

    found, following = kept.page(platform, WORD, request, summary, "TrainingJobStatus", order="Ascending")
    return {"TrainingJobSummaries": found, **following}


@SAGEMAKER.operation
def stop_training_job(call: Call, request: dict[str, Any]) -> None:
    """Have the job write a checkpoint and end."""
    platform = call.platform
    found = _get(platform, request["TrainingJobName"])
    status = _summary(platform, found, platform.queue.get(found.body["job"]))["TrainingJobStatus"]
    if status in OVER:
        raise AwsError("ValidationException", f"Training job {found.name} is {status} already.")
    platform.queue.stop(found.body["job"])
    platform.nudge()


def _get(platform: Platform, name: str) -> Document:
    found = kept.get(platform, WORD, name)
    if found.body["job"] is None:
        raise AwsError("ValidationException", f"Training job {found.name} is being submitted; ask again in a moment.")
    return found


def _summary(platform: Platform, found: Document, job: Job) -> dict[str, Any]:
    status, secondary = progress.statuses(platform, found, job, read_story(platform, job))
    return {
        "TrainingJobName": found.name,
        "TrainingJobArn": kept.arn_of(WORD, found.name),
        "CreationTime": found.created,
        "LastModifiedTime": job.ended or job.started or found.created,
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary,
        **({"TrainingEndTime": job.ended} if status in OVER and job.ended else {}),
    }


def _recipe(platform: Platform, request: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe keys, from hyper-parameters and, in a serverless job, from its base and technique."""
    # `sagemaker_*` is what SageMaker's own SDK writes for its containers; those say nothing of the recipe.
    given = {
        key: value for key, value in request.get("HyperParameters", {}).items() if not key.startswith("sagemaker_")
    }
    known = [key for key in keys_of(Recipe) if key not in ELSEWHERE]
    for key in given:
        if key in ELSEWHERE:
            raise AwsError("ValidationException", f"HyperParameters: {key} is said by {ELSEWHERE[key]}.")
        if key.partition(".")[0] not in known:
            raise AwsError("ValidationException", f"HyperParameters: {key!r} is no key of a recipe.{near(key, known)}")
    values = training.settings(given)
    if serverless := request.get("ServerlessJobConfig"):
        values = {**_serverless(platform, serverless), **values}
        if serverless.get("CustomizationTechnique") == "RLAIF":
            _check_judge(values)
        return values
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
    if "EvaluatorArn" in config:
        raise AwsError(
            "ValidationException",
            "ServerlessJobConfig.EvaluatorArn: no reward function or prompt of SageMaker's runs here. Leave it out; "
            "HyperParameters name the scorer as rlhf.reward: exact, json, regex:…, length:N or a reward model.",
        )
    technique = config.get("CustomizationTechnique", "SFT")
    method = TECHNIQUES[technique] or ("lora" if config.get("Peft") == "LORA" else None)
    # `4K`, as the model of the request has it.
    length = {"max_length": int(config["SequenceLength"][:-1]) * 1024} if "SequenceLength" in config else {}
    return {"model": _base(platform, config["BaseModelArn"]), **({"method": method} if method else {}), **length}


def _check_judge(values: Mapping[str, Any]) -> None:
    """Raise `AwsError` for a recipe whose scorer is no model; a word that is no scorer the recipe itself refuses."""
    table = values.get("rlhf")
    try:
        kind = scorers.read(str(table.get("reward", "exact")) if isinstance(table, dict) else "exact").kind
    except ValueError:
        return
    if kind != "model":
        raise AwsError(
            "ValidationException",
            "ServerlessJobConfig.CustomizationTechnique: RLAIF is judged by a model, and HyperParameters names none. "
            "Name a registered reward model there as rlhf.reward, or take RLVR: it compares with each row's answer.",
        )


def _base(platform: Platform, arn: str) -> str:
    """What a BaseModelArn names: `…:hub-content/ANY/Model/NAME/1.0.0`, where `-` stands for what NAME cannot have."""
    found = _HUB.fullmatch(arn)
    name = found[1] if found else arn
    entry = next((each.id for each in CATALOGUE if slug(each.id) == slug(name)), name)
    return version_or_base(platform, entry, "ServerlessJobConfig.BaseModelArn")


def _channels(platform: Platform, request: Mapping[str, Any]) -> tuple[dict[str, str], Path, Path | None]:
    """The addresses by recipe key, the file of the channel `train` (or `training`) and that of `validation`."""
    objects = Objects(platform.home.s3)
    sources: dict[str, str] = {}
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
        sources["validation" if name == "validation" else "data"] = found[0]
    if "data" not in sources:
        raise AwsError("ValidationException", "InputDataConfig has no channel `train`.")
    files = {key: objects.path(uri) for key, uri in sources.items()}
    return sources, files["data"], files.get("validation")
