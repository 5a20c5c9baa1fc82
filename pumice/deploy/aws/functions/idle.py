"""Deletes an endpoint that nobody asked for a while, what stands on it first.

Needs nothing but boto3; CloudWatch Events calls it.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError

ENDPOINT = os.environ["ENDPOINT_NAME"]
IDLE = timedelta(minutes=int(os.environ["IDLE_MINUTES"]))

PAUSE = 5.0

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
    endpoint = {"EndpointName": ENDPOINT}
    names = [each["InferenceComponentName"] for each in components()]
    counted = [{**endpoint, "VariantName": each["VariantName"]} for each in found["ProductionVariants"]]
    count = sum(asked(each, now) for each in [*counted, *({"InferenceComponentName": name} for name in names)])
    if count:
        return said("kept", f"It was asked {count:.0f} times.")
    # SageMaker deletes no base under its adapters, and no endpoint under a component.
    base = f"{ENDPOINT}-base"
    remove([name for name in names if name != base])
    remove([name for name in names if name == base])
    _sagemaker.delete_endpoint(EndpointName=ENDPOINT)
    return said("deleted", f"Nobody asked it for {IDLE}.")


def components() -> list[dict[str, Any]]:
    """What stands on the endpoint; nothing on one with a model of its own."""
    pages = _sagemaker.get_paginator("list_inference_components").paginate(EndpointNameEquals=ENDPOINT)
    return [each for page in pages for each in page["InferenceComponents"]]


def remove(names: list[str]) -> None:
    """Delete components, and wait until they are gone."""
    for name in names:
        _sagemaker.delete_inference_component(InferenceComponentName=name)
    while any(each["InferenceComponentName"] in names for each in components()):
        time.sleep(PAUSE)


def asked(dimensions: dict[str, str], now: datetime) -> float:
    """How often a variant, or an inference component, was asked of late."""
    statistics = _cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
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
