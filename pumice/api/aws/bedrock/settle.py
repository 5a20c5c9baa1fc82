"""What is written once a job has ended, whether or not anybody asks for it. Knows no operation."""

from __future__ import annotations

from pumice.api.aws.bedrock import customization, evaluation
from pumice.api.background import Part
from pumice.api.platform import Platform
from pumice.records import Job


class Settling(Part):
    """Brings what jobs owe to S3 at their end."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def ended(self, job: Job) -> None:
        """Write what is due for a job of Bedrock's."""
        settle_ended(self._platform, job)


def settle_ended(platform: Platform, job: Job) -> None:
    """Write what is due for a job that has just ended; nothing for one that came another way. Blocks."""
    if order := customization.ORDERS.of_job(platform, job.id):
        customization.settle(platform, order)
    if order := evaluation.ORDERS.of_job(platform, job.id):
        evaluation.settle(platform, order)
