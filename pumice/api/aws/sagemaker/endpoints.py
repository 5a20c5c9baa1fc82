"""Endpoints: weighted variants that answer under one name. Their engines are shared with every other wire.

An endpoint is in service once each of its models has an engine. What is asked meanwhile is answered by the variants
that it had before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.sagemaker.rising import COMPONENT, Rising
from pumice.api.aws.sagemaker.rising import ENDPOINT as WORD
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.records import Document


@SAGEMAKER.operation
async def create_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Begin to serve a configuration; `Creating` until its models have engines."""
    platform, name = call.platform, request["EndpointName"]

    def keep() -> None:
        wanted = _wanted(platform, request["EndpointConfigName"])
        body = {"request": request, **wanted, "status": "Creating", "failure": "", "pending": wanted}
        kept.add(platform, WORD, name, body)

    await asyncio.to_thread(keep)
    await platform.part(Rising).begin(WORD, name)
    return {"EndpointArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
async def update_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Go over to another configuration without a request lost: the old variants answer until the new ones can."""
    platform = call.platform

    def keep() -> str:
        found = _ready(platform, request["EndpointName"])
        wanted = _wanted(platform, request["EndpointConfigName"])
        if request.get("RetainAllVariantProperties"):
            for name, variant in wanted["variants"].items():
                variant["weight"] = found.body["variants"].get(name, variant)["weight"]
        platform.documents.change(found.kind, found.name, status="Updating", failure="", pending=wanted)
        return found.name

    name = await asyncio.to_thread(keep)
    await platform.part(Rising).begin(WORD, name)
    return {"EndpointArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
def update_endpoint_weights_and_capacities(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Shift traffic between variants, from the next request on."""
    wanted = {each["VariantName"]: each.get("DesiredWeight") for each in request["DesiredWeightsAndCapacities"]}
    return {"EndpointArn": kept.arn_of(WORD, reweigh(call.platform, request["EndpointName"], wanted).name)}


def reweigh(platform: Platform, endpoint: str, weights: Mapping[str, float | None]) -> Document:
    """Give variants of an endpoint other weights; None leaves one as it is. Raises `AwsError`."""
    found = _ready(platform, endpoint)
    variants = {name: dict(each) for name, each in found.body["variants"].items()}
    for name, weight in weights.items():
        if name not in variants:
            known = ", ".join(variants)
            raise AwsError("ValidationException", f"VariantName {name!r} is none of {found.name}'s: {known}.")
        if weight is not None:
            variants[name]["weight"] = weight
    return platform.documents.change(found.kind, found.name, variants=variants)


@SAGEMAKER.operation
def describe_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """An endpoint with its variants and their weights."""
    found = kept.get(call.platform, WORD, request["EndpointName"])
    shown = [
        {
            "VariantName": name,
            "CurrentWeight": variant["weight"],
            "DesiredWeight": variant["weight"],
            "CurrentInstanceCount": 1,
            "DesiredInstanceCount": 1,
        }
        for name, variant in found.body["variants"].items()
    ]
    failure = {"FailureReason": found.body["failure"]} if found.body["failure"] else {}
    return {**_summary(found), "EndpointConfigName": found.body["config"], "ProductionVariants": shown, **failure}


@SAGEMAKER.operation
def list_endpoints(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Endpoints by name and status."""
    found, following = kept.page(call.platform, WORD, request, _summary, "EndpointStatus")
    return {"Endpoints": found, **following}


@SAGEMAKER.operation
async def delete_endpoint(call: Call, request: dict[str, Any]) -> None:
    """End an endpoint; its models and configuration stay. Refused while it has inference components."""
    platform = call.platform

    def find() -> str:
        found = kept.get(platform, WORD, request["EndpointName"])
        inside = [each.name for each in platform.documents.list(kept.kind_of(COMPONENT))
                  if each.body["endpoint"] == found.name]  # fmt: skip
        if inside:
            sentence = f"Endpoint {found.name} has inference components: delete {', '.join(inside)} first."
            raise AwsError("ValidationException", sentence)
        return found.name

    name = await asyncio.to_thread(find)
    await platform.part(Rising).leave(WORD, name)
    await asyncio.to_thread(kept.delete, platform, WORD, name)


def _wanted(platform: Platform, config: str) -> dict[str, Any]:
    """A configuration as an endpoint keeps it: for each variant its weight and what it serves, None for components."""
    found = kept.get(platform, "endpoint-config", config)
    variants = {
        each["VariantName"]: {
            "weight": each.get("InitialVariantWeight", 1.0),
            "served": kept.get(platform, "model", each["ModelName"]).body["served"] if "ModelName" in each else None,
        }
        for each in found.body["request"]["ProductionVariants"]
    }
    return {"config": found.name, "variants": variants}


def _ready(platform: Platform, name: str) -> Document:
    found = kept.get(platform, WORD, name)
    if found.body["status"] != "InService":
        raise AwsError("ValidationException", f"Endpoint {found.name} is {found.body['status']}; wait for InService.")
    return found


def _summary(found: Document) -> dict[str, Any]:
    return {
        "EndpointName": found.name,
        "EndpointArn": kept.arn_of(WORD, found.name),
        "CreationTime": found.created,
        "LastModifiedTime": found.updated,
        "EndpointStatus": found.body["status"],
    }
