"""What SageMaker has running beside the requests."""

from __future__ import annotations

from pumice.api.aws.sagemaker.rising import Rising
from pumice.api.aws.sagemaker.settling import Settling
from pumice.api.platform import Platform


def attend(platform: Platform) -> None:
    """Add them to a platform that is not running yet."""
    platform.parts.extend((Rising(platform), Settling(platform)))
