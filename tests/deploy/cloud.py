"""An account of AWS, as the tests hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3
from sagemaker_double import REGION, Double
from stacks_double import Stacks

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}


@dataclass
class Cloud:
    """The account."""

    url: str
    double: Double
    stacks: Stacks

    def client(self, service: str) -> Any:
        """As its root, straight to the emulator."""
        return boto3.client(service, endpoint_url=self.url, **KEYS)

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 reads, so that it finds the account."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_SAGEMAKER": self.double.url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.double.url,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": self.double.url,
            "AWS_ENDPOINT_URL_CLOUDFORMATION": self.stacks.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }
