"""Bedrock's control plane: each module serves its operations by being imported here. Knows no other service."""

from __future__ import annotations

from pumice.api.aws.bedrock import (
    batch,
    custom_models,
    customization,
    deployments,
    evaluation,
    foundation_models,
    guardrails,
    imports,
    logging,
    provisioned,
    settle,
    tags,
)

__all__ = [
    "batch",
    "custom_models",
    "customization",
    "deployments",
    "evaluation",
    "foundation_models",
    "guardrails",
    "imports",
    "logging",
    "provisioned",
    "settle",
    "tags",
]
