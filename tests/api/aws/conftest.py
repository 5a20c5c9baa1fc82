"""The servers of tests/api serve these tests too; what several of them ask with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from live_server import Live


@pytest.fixture(scope="module")
def runtime(live: Live) -> Iterator[Any]:
    """A client that the shared server answers; any credentials pass while no key exists."""
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=live.url,
        region_name="us-east-1",
        aws_access_key_id="anything",
        aws_secret_access_key="passes",
        config=Config(retries={"max_attempts": 0}, read_timeout=120),
    )
    yield client
    client.close()
