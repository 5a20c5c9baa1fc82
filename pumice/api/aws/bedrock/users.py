"""What would break if a custom model were deleted, whichever wire made it. Knows no deletion."""

from __future__ import annotations

from collections.abc import Iterator

from pumice.api.aws.bedrock import deployments, provisioned
from pumice.api.aws.names import find_version
from pumice.api.aws.sagemaker import kept
from pumice.api.platform import Platform


def users_of(platform: Platform, model: str) -> list[str]:
    """What a custom model, by ARN or name, is needed for: the ARNs of what it answers, and jobs by id. Blocks."""
    version = find_version(model, platform.registry)
    return [
        *deployments.users_of(platform, model),
        *provisioned.users_of(platform, model),
        *(_sagemaker(platform, version.id) if version else ()),
        *(_jobs(platform, version.id) if version else ()),
    ]


def _sagemaker(platform: Platform, version: str) -> Iterator[str]:
    """Models, endpoints, components and packages."""
    for word in ("model", "endpoint", "inference-component", "model-package"):
        for each in platform.documents.list(kept.kind_of(word)):
            variants = (each.body.get("variants") or {}).values()
            if version in (each.body.get("served"), *(variant["served"] for variant in variants)):
                yield kept.arn_of(word, each.name)


def _jobs(platform: Platform, version: str) -> Iterator[str]:
    """Jobs that have not ended and start from it or look at it."""
    for job in platform.queue.unended():
        named = job.spec.get("model")
        if named and (found := find_version(named, platform.registry)) and found.id == version:
            yield f"job {job.id}"
