"""What comes up beside the requests: endpoints and components whose models are getting an engine. Knows no operation."""

from __future__ import annotations

from pumice.api.background import Part, Tasks
from pumice.api.platform import Platform


class Rising(Part):
    """The endpoints and components that are coming up in this server."""

    def __init__(self) -> None:
        self.tasks = Tasks()

    async def stop(self) -> None:
        """Leave them; whoever describes one that was left starts it again."""
        await self.tasks.stop()


def tasks(platform: Platform) -> Tasks:
    """Those of a platform."""
    return platform.part(Rising).tasks
