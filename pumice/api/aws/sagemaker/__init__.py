"""SageMaker: each module serves its operations by being imported here. Knows no other service."""

from __future__ import annotations

from pumice.api.aws.sagemaker import components, configs, endpoints, invoke, models, packages, tags, training

__all__ = ["components", "configs", "endpoints", "invoke", "models", "packages", "tags", "training"]
