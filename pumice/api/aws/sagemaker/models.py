"""Models, as endpoints are made of them: each names a version of the registry. Knows no weights.

What counts is where a model's data came from: a training job here, a model package, or an environment that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import find_entry, find_version
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform

WORD = "model"
VARIABLE = "PUMICE_MODEL"
"""Environment variable of a container that names a registered model or a base."""


@SAGEMAKER.operation
def create_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Keep a model. Raises ValidationException when its container names nothing that can be served."""
    name = request["ModelName"]
    containers = [
        *([request["PrimaryContainer"]] if "PrimaryContainer" in request else []),
        *request.get("Containers", []),
    ]
    if len(containers) != 1:
        raise AwsError("ValidationException", f"A model has one container here; this request has {len(containers)}.")
    served = resolve(call.platform, containers[0])
    kept.add(call.platform, WORD, name, {"request": request, "served": served})
    return {"ModelArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
def describe_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A model as it was made."""
    found = kept.get(call.platform, WORD, request["ModelName"])
    asked = {key: value for key, value in found.body["request"].items() if key != "Tags"}
    return {**asked, "ModelArn": kept.arn_of(WORD, found.name), "CreationTime": found.created}


@SAGEMAKER.operation
def list_models(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Models by name."""
    found, following = kept.page(
        call.platform,
        WORD,
        request,
        lambda each: {
            "ModelName": each.name,
            "ModelArn": kept.arn_of(WORD, each.name),
            "CreationTime": each.created,
        },
    )
    return {"Models": found, **following}


@SAGEMAKER.operation
def delete_model(call: Call, request: dict[str, Any]) -> None:
    """Forget a model; the registered version stays."""
    kept.delete(call.platform, WORD, request["ModelName"])


def resolve(platform: Platform, container: Mapping[str, Any]) -> str:
    """The version or base that a container stands for. Raises ValidationException with the ways to say it."""
    named = container.get("Environment", {}).get(VARIABLE)
    if named:
        return version_or_base(platform, named, VARIABLE)
    if package := container.get("ModelPackageName"):
        return str(kept.get(platform, "model-package", package).body["served"])
    source = container.get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri") or container.get("ModelDataUrl")
    if source:
        for job in platform.documents.list(kept.kind_of("training-job")):
            made = job.body.get("artifact")
            if made and source.rstrip("/") in (made, made.rpartition("/")[0]):
                return str(job.body["model"])
        raise AwsError(
            "ValidationException",
            f"{source} is not what a training job made here. Weights from elsewhere are registered with Bedrock's "
            f"CreateModelImportJob, and then named by the environment variable {VARIABLE}.",
        )
    raise AwsError(
        "ValidationException",
        "The container names no model: give ModelDataUrl (of a training job here), ModelPackageName, or "
        f"Environment.{VARIABLE} with a registered name.",
    )


def version_or_base(platform: Platform, name: str, field: str) -> str:
    """The id of a registered version or of a base of the catalogue. Raises ValidationException naming `field`."""
    if version := find_version(name, platform.registry):
        return version.id
    if entry := find_entry(name):
        return entry.id
    raise AwsError("ValidationException", f"{field}: there is no model {name!r}; ListModels of bedrock shows them.")
