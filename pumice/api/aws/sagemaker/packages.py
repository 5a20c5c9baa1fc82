"""The model registry's packages: versions in a group, with approval. Approving one puts its version into production."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.sagemaker.models import resolve
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.records import Document, Stage

GROUP = "model-package-group"
WORD = "model-package"
PENDING = "PendingManualApproval"
STAGES = {"Approved": Stage.PRODUCTION, "Rejected": Stage.ARCHIVED, PENDING: Stage.CANDIDATE}


@SAGEMAKER.operation
def create_model_package_group(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Make a group, which numbers its packages."""
    name = request["ModelPackageGroupName"]
    call.platform.documents.add(kept.kind_of(GROUP), name, {"request": request, "last": 0})
    return {"ModelPackageGroupArn": kept.arn_of(GROUP, name)}


@SAGEMAKER.operation
def describe_model_package_group(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A group."""
    found = kept.get(call.platform, GROUP, request["ModelPackageGroupName"])
    return {**_group(found), "CreatedBy": {}}


@SAGEMAKER.operation
def list_model_package_groups(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Groups by name."""
    found, following = kept.page(call.platform, GROUP, request, _group)
    return {"ModelPackageGroupSummaryList": found, **following}


@SAGEMAKER.operation
def delete_model_package_group(call: Call, request: dict[str, Any]) -> None:
    """Forget an empty group."""
    found = kept.get(call.platform, GROUP, request["ModelPackageGroupName"])
    inside = [each for each in call.platform.documents.list(kept.kind_of(WORD)) if each.body["group"] == found.name]
    if inside:
        raise AwsError("ConflictException", f"{found.name} still has {len(inside)} packages; delete them first.")
    kept.delete(call.platform, GROUP, found.name)


@SAGEMAKER.operation
def create_model_package(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Register what a training job made, or a registered model, as the next package of a group."""
    if "ModelPackageGroupName" not in request:
        raise AwsError(
            "ValidationException", "ModelPackageGroupName is missing: packages have versions in a group here."
        )
    containers = request.get("InferenceSpecification", {}).get("Containers", [])
    if len(containers) != 1:
        raise AwsError("ValidationException", "InferenceSpecification.Containers must have one container.")
    served = resolve(call.platform, containers[0])
    body = {"served": served, "data": containers[0].get("ModelDataUrl", ""), "request": request}
    return {"ModelPackageArn": add(call.platform, request["ModelPackageGroupName"], body)}


def add(platform: Platform, group: str, body: Mapping[str, Any]) -> str:
    """The ARN of a new package of `group`, with the next number."""
    found = kept.get(platform, GROUP, group)
    number = int(found.body["last"]) + 1
    platform.documents.change(found.kind, found.name, last=number)
    approval = body["request"].get("ModelApprovalStatus", PENDING)
    name = f"{found.name}/{number}"
    document = platform.documents.add(
        kept.kind_of(WORD), name, {**body, "group": found.name, "number": number, "approval": approval}
    )
    _stage(platform, document)
    return kept.arn_of(WORD, name)


@SAGEMAKER.operation
def describe_model_package(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A package with its approval."""
    found = get(call.platform, request["ModelPackageName"])
    asked = {
        key: found.body["request"][key]
        for key in ("InferenceSpecification", "ModelMetrics", "CustomerMetadataProperties")
        if key in found.body["request"]
    }
    return {
        **_summary(found),
        **asked,
        "ModelPackageName": found.name,
        "LastModifiedTime": found.updated,
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
    }


@SAGEMAKER.operation
def list_model_packages(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Packages of a group, by approval."""
    found, following = kept.page(call.platform, WORD, request, _summary)
    group, approval = request.get("ModelPackageGroupName"), request.get("ModelApprovalStatus")
    wanted = [
        each
        for each in found
        if (group is None or each["ModelPackageGroupName"] == kept.get(call.platform, GROUP, group).name)
        and approval in (None, each["ModelApprovalStatus"])
    ]
    return {"ModelPackageSummaryList": wanted, **following}


@SAGEMAKER.operation
def update_model_package(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Approve or reject; the registered version follows."""
    found = get(call.platform, request["ModelPackageArn"])
    if "ModelApprovalStatus" in request:
        changed = {"approval": request["ModelApprovalStatus"], "reason": request.get("ApprovalDescription", "")}
        _stage(call.platform, call.platform.documents.change(found.kind, found.name, **changed))
    return {"ModelPackageArn": kept.arn_of(WORD, found.name)}


@SAGEMAKER.operation
def delete_model_package(call: Call, request: dict[str, Any]) -> None:
    """Forget a package; the registered version stays."""
    found = get(call.platform, request["ModelPackageName"])
    call.platform.documents.delete(found.kind, found.name)


def get(platform: Platform, name: str) -> Document:
    """A package by `GROUP/NUMBER` or its ARN, which SageMaker writes in small letters."""
    wanted = name.rpartition(f":{WORD}/")[2].lower()
    found = next((each for each in platform.documents.list(kept.kind_of(WORD)) if each.name.lower() == wanted), None)
    if found is None:
        raise AwsError("ValidationException", f"Could not find model package {name!r}.")
    return found


def _stage(platform: Platform, package: Document) -> None:
    served = package.body["served"]
    if platform.registry.has(served):
        platform.registry.set_stage(served, STAGES[package.body["approval"]])


def _group(found: Document) -> dict[str, Any]:
    return {
        "ModelPackageGroupName": found.name,
        "ModelPackageGroupArn": kept.arn_of(GROUP, found.name),
        "CreationTime": found.created,
        "ModelPackageGroupStatus": "Completed",
    }


def _summary(found: Document) -> dict[str, Any]:
    return {
        "ModelPackageGroupName": found.body["group"],
        "ModelPackageVersion": found.body["number"],
        "ModelPackageArn": kept.arn_of(WORD, found.name),
        "CreationTime": found.created,
        "ModelPackageStatus": "Completed",
        "ModelApprovalStatus": found.body["approval"],
    }
