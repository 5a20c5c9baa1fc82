"""What Bedrock's control plane has running beside the requests."""

from __future__ import annotations

from pumice.api.aws.bedrock.batch import RUNNER, Invocations
from pumice.api.aws.bedrock.deployments import Deployments
from pumice.api.aws.bedrock.logging import InvocationLog
from pumice.api.aws.bedrock.provisioned import Provisioned
from pumice.api.aws.bedrock.settle import Settling
from pumice.api.platform import Platform


def attend(platform: Platform) -> None:
    """Add them to a platform that is not running yet."""
    platform.parts.extend((Deployments(platform), Provisioned(platform), InvocationLog(platform), Settling(platform)))
    platform.batches.register(RUNNER, Invocations(platform))
