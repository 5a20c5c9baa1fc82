"""Deletes an endpoint that nobody asked for a while. Needs nothing but boto3; CloudWatch Events calls it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError

ENDPOINT = os.environ["ENDPOINT_NAME"]
IDLE = timedelta(minutes=int(os.environ["IDLE_MINUTES"]))

_sagemaker = boto3.client("sagemaker")
_cloudwatch = boto3.client("cloudwatch")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Look once; says what it did and why."""
    now = datetime.now(UTC)
    try:
        found = _sagemaker.describe_endpoint(EndpointName=ENDPOINT)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
        return said("gone", "There is no endpoint.")
    if found["EndpointStatus"] != "InService":
        return said("kept", f"It is {found['EndpointStatus']}.")
    # A new or changed endpoint has its whole time before it.
    if found["LastModifiedTime"] > now - IDLE:
        return said("kept", "It is younger than that.")
    count = sum(asked(each["VariantName"], now) for each in found["ProductionVariants"])
    if count:
        return said("kept", f"It was asked {count:.0f} times.")
    _sagemaker.delete_endpoint(EndpointName=ENDPOINT)
    return said("deleted", f"Nobody asked it for {IDLE}.")


def asked(variant: str, now: datetime) -> float:
    """How often one variant was asked of late."""
    statistics = _cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": "EndpointName", "Value": ENDPOINT}, {"Name": "VariantName", "Value": variant}],
        StartTime=now - IDLE,
        EndTime=now,
        Period=60,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in statistics["Datapoints"]))


def said(what: str, why: str) -> dict[str, Any]:
    """Into the log too."""
    print(json.dumps({"endpoint": ENDPOINT, "idle": what, "why": why}))
    return {"did": what, "why": why}
