"""What is written once a job has ended, whether or not anybody asks for it. Knows no operation."""

from __future__ import annotations

from pumice.api.aws.bedrock import customization
from pumice.api.platform import Platform
from pumice.records import Job


def settle_ended(platform: Platform, job: Job) -> None:
    """Write what is due for a job that has just ended; nothing for one that came another way. Blocks."""
    if order := customization.ORDERS.of_job(platform, job.id):
        customization.settle(platform, order)
