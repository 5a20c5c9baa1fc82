"""What would break if a custom model were deleted. Knows no deletion."""

from __future__ import annotations

from pumice.api.aws.bedrock import deployments, provisioned
from pumice.api.platform import Platform


def users_of(platform: Platform, model: str) -> list[str]:
    """ARNs of the deployments and the provisioned capacity that a custom model, by ARN or name, answers. Blocks."""
    return [*deployments.users_of(platform, model), *provisioned.users_of(platform, model)]
