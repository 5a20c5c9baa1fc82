"""What SageMaker has beside the requests: endpoints that come up, and what is owed to jobs that have ended."""

from __future__ import annotations

from pumice.api.aws.sagemaker.training import settle_ended
from pumice.api.background import Part, Tasks
from pumice.api.platform import Platform
from pumice.records import Job


class Rising(Part):
    """The endpoints and components that are coming up in this server."""

    def __init__(self, platform: Platform) -> None:
        self.tasks = Tasks()
        self._platform = platform

    def ended(self, job: Job) -> None:
        """Put the artifact where the caller wants it."""
        settle_ended(self._platform, job)

    async def stop(self) -> None:
        """Leave them; whoever describes one that was left starts it again."""
        await self.tasks.stop()


def attend(platform: Platform) -> None:
    """Add it to a platform that is not running yet."""
    platform.parts.append(Rising(platform))


def tasks(platform: Platform) -> Tasks:
    """Those of a platform."""
    return platform.part(Rising).tasks
