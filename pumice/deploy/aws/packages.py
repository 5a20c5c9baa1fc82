"""A registered version in SageMaker's model registry, and what each says of the other's trust in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pumice.config import Home
from pumice.deploy.aws import artifacts
from pumice.deploy.aws.account import Account, missing
from pumice.deploy.sagemaker import images
from pumice.errors import NotFoundError
from pumice.records import Model, Stage
from pumice.registry.models import Registry

EXPORT = "sagemaker"
APPROVAL = {
    Stage.CANDIDATE: "PendingManualApproval",
    Stage.PRODUCTION: "Approved",
    Stage.ARCHIVED: "Rejected",
}
STAGE = {approval: stage for stage, approval in APPROVAL.items()}


def group(name: str) -> str:
    """The package group of a model: letters, digits and dashes."""
    return f"pumice-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}"[:63].rstrip("-")


def push(
    model: Model, bucket: str, account: Account, registry: Registry, home: Home, tell: Callable[[str], None]
) -> str:
    """Put a version there with its scores and lineage, or tell there what stage it has here; the package's ARN."""
    sagemaker, s3 = account.client("sagemaker"), account.client("s3")
    if known := model.exports.get(EXPORT):
        arn = str(known["arn"])
        sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=APPROVAL[model.stage])
        tell(f"{arn} is {APPROVAL[model.stage]} now")
        return arn
    subject = artifacts.find(model.id, registry, home)
    engine = artifacts.choose(subject, False, None)
    image = images.serving(engine, account.region, None)
    address = artifacts.address(subject, engine, bucket)
    artifacts.send(partial(artifacts.lay, subject, engine), address, s3, home.cache, tell)
    ensure_group(sagemaker, group(model.name))
    asked: dict[str, Any] = {
        "ModelPackageGroupName": group(model.name),
        "ModelPackageDescription": f"{model.id}, by {model.method} from {model.base}",
        "ModelApprovalStatus": APPROVAL[model.stage],
        "CustomerMetadataProperties": lineage(model),
        "InferenceSpecification": {
            "Containers": [{"Image": image, "ModelDataUrl": address, "Environment": dict(images.ENVIRONMENT[engine])}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    }
    report = model.folder / "report.json"
    if report.exists():
        asked["ModelMetrics"] = metrics(report, f"{address.rpartition('/')[0]}/report.json", s3)
    arn = str(sagemaker.create_model_package(**asked)["ModelPackageArn"])
    registry.record_export(model.id, EXPORT, {"arn": arn})
    return arn


def ensure_group(sagemaker: Any, name: str) -> None:
    """Make the group unless it is there."""
    try:
        sagemaker.describe_model_package_group(ModelPackageGroupName=name)
    except ClientError as error:
        if not missing(error):
            raise
        sagemaker.create_model_package_group(ModelPackageGroupName=name)


def lineage(model: Model) -> dict[str, str]:
    """Where it came from, as SageMaker keeps it: texts of 256 characters at most."""
    facts = {
        "pumice": model.id,
        "method": model.method,
        "base": model.base,
        "base-sha256": model.base_sha256,
        "data-sha256": model.data_sha256,
        "job": model.job or "",
    }
    return {key: value[:256] for key, value in facts.items() if value}


def metrics(report: Path, address: str, s3: Any) -> dict[str, Any]:
    """The comparison with its base, which SageMaker shows beside the version."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    s3.upload_file(str(report), bucket, key)
    return {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": address}}}


def pull(name: str, account: Account, registry: Registry) -> list[Model]:
    """Take over what was approved or rejected there; the versions whose stage changed here."""
    sagemaker, changed = account.client("sagemaker"), []
    pushed = [model for model in registry.list(name) if EXPORT in model.exports]
    if not pushed:
        raise NotFoundError(
            f"No version of {name} was pushed to SageMaker.",
            fix=f"Push one: pumice models push {name}@1 --bucket BUCKET",
        )
    for model in pushed:
        found = sagemaker.describe_model_package(ModelPackageName=model.exports[EXPORT]["arn"])
        stage = STAGE[found["ModelApprovalStatus"]]
        if stage is not model.stage:
            changed.append(registry.set_stage(model.id, stage))
    return changed
