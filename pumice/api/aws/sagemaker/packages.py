"""The model registry's packages: versions in a group, with approval. Approving one puts its version into production."""

from __future__ import annotations

import threading
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
_NUMBERS = threading.Lock()
STAGES = {"Approved": Stage.PRODUCTION, "Rejected": Stage.ARCHIVED, PENDING: Stage.CANDIDATE}


@SAGEMAKER.operation
def create_model_package_group(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Make a group, which numbers its packages."""
    name = request["ModelPackageGroupName"]
    kept.add(call.platform, GROUP, name, {"request": request, "last": 0})
    return {"ModelPackageGroupArn": kept.arn_of(GROUP, name)}


@SAGEMAKER.operation
def describe_model_package_group(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A group."""
    found = kept.get(call.platform, GROUP, request["ModelPackageGroupName"])
    return {**_group(found), "CreatedBy": {}}


@SAGEMAKER.operation
def list_model_package_groups(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Groups by name."""
    found, following = kept.page(call.platform, GROUP, request, _group, order="Ascending")
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
    """The ARN of a new package of `group`, with the next number; of a job's package only once, however often told."""
    with _NUMBERS:
        found = kept.get(platform, GROUP, group)
        for each in platform.documents.list(kept.kind_of(WORD)) if "job" in body else ():
            if each.body.get("job") == body["job"]:
                return kept.arn_of(WORD, each.name)
        number = int(found.body["last"]) + 1
        name = f"{found.name}/{number}"
        approval = body["request"].get("ModelApprovalStatus", PENDING)
        platform.documents.change(found.kind, found.name, last=number)
        kept.add(platform, WORD, name, {**body, "group": found.name, "number": number, "approval": approval})
    # One that waits for approval says nothing yet: its version may be in production already.
    if approval != PENDING:
        _stage(platform, body["served"], approval)
    return kept.arn_of(WORD, name)


@SAGEMAKER.operation
def describe_model_package(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A package with its approval."""
    found = kept.get(call.platform, WORD, request["ModelPackageName"])
    asked = {
        key: found.body["request"][key]
        for key in ("InferenceSpecification", "ModelMetrics", "CustomerMetadataProperties")
        if key in found.body["request"]
    }
    return {
        **_summary(found),
        **asked,
        "ModelPackageName": found.name,
        **({"ApprovalDescription": found.body["reason"]} if found.body.get("reason") else {}),
        "LastModifiedTime": found.updated,
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
    }


@SAGEMAKER.operation
def list_model_packages(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Packages of a group, by approval."""
    platform, approval = call.platform, request.get("ModelApprovalStatus")
    named = request.get("ModelPackageGroupName")
    group = kept.get(platform, GROUP, named).name if named else None

    def summary(found: Document) -> dict[str, Any] | None:
        wanted = group in (None, found.body["group"]) and approval in (None, found.body["approval"])
        return _summary(found) if wanted else None

    found, following = kept.page(platform, WORD, request, summary, order="Ascending")
    return {"ModelPackageSummaryList": found, **following}


@SAGEMAKER.operation
def update_model_package(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Approve or reject; the registered version follows."""
    found = kept.get(call.platform, WORD, request["ModelPackageArn"])
    if "ModelApprovalStatus" in request:
        approval, reason = request["ModelApprovalStatus"], request.get("ApprovalDescription", "")
        _stage(call.platform, found.body["served"], approval)
        call.platform.documents.change(found.kind, found.name, approval=approval, reason=reason)
    return {"ModelPackageArn": kept.arn_of(WORD, found.name)}


@SAGEMAKER.operation
def delete_model_package(call: Call, request: dict[str, Any]) -> None:
    """Forget a package; the registered version stays."""
    kept.delete(call.platform, WORD, request["ModelPackageName"])


def _stage(platform: Platform, served: str, approval: str) -> None:
    if platform.registry.has(served):
        platform.registry.set_stage(served, STAGES[approval])


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
