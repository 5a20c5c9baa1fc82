"""Services that are not there say so, in the form that their clients read."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from live_server import serving

from pumice.config import Home


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(Home(tmp_path_factory.mktemp("unserved"))) as address:
        yield address


@pytest.mark.parametrize(
    ("service", "operation", "named"),
    [
        ("ec2", "describe_instances", "DescribeInstances"),
        ("iam", "list_users", "ListUsers"),
        ("dynamodb", "list_tables", "DynamoDB_20120810.ListTables"),
        ("lambda", "list_functions", "GET /2015-03-31/functions"),
    ],
)
def test_a_service_that_is_not_served_is_named(url: str, service: str, operation: str, named: str) -> None:
    client = boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 0}),
    )
    with pytest.raises(ClientError) as error:
        getattr(client, operation)()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert f"not {service} ({named}" in error.value.response["Error"]["Message"]
