"""Endpoints: weighted variants that answer under one name. Their engines are shared with every other wire.

An endpoint is in service once each of its models has an engine. What is asked meanwhile is answered by the variants
that it had before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.sagemaker.rising import tasks
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.errors import PumiceError
from pumice.records import Document

WORD = "endpoint"
LOGGER = logging.getLogger(__name__)


@SAGEMAKER.operation
async def create_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Begin to serve a configuration; `Creating` until its models have engines."""
    platform, name = call.platform, request["EndpointName"]
    variants = _variants(platform, request["EndpointConfigName"])
    body = {"config": request["EndpointConfigName"], "variants": variants, "status": "Creating"}
    platform.documents.add(kept.kind_of(WORD), name, body)
    tasks(platform).start(f"endpoint {name}", bring_up(platform, name, variants, request["EndpointConfigName"]))
    return {"EndpointArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
async def update_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Go over to another configuration without a request lost: the old variants answer until the new ones can."""
    platform, config = call.platform, request["EndpointConfigName"]
    found = _ready(platform, request["EndpointName"])
    variants = _variants(platform, config)
    if request.get("RetainAllVariantProperties"):
        variants = {name: {**each, "weight": _weight(found, name, each)} for name, each in variants.items()}
    platform.documents.change(found.kind, found.name, status="Updating", failure=None)
    tasks(platform).start(f"endpoint {found.name}", bring_up(platform, found.name, variants, config))
    return {"EndpointArn": kept.arn_of(WORD, found.name)}


@SAGEMAKER.operation
def update_endpoint_weights_and_capacities(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Shift traffic between variants, from the next request on."""
    found = _ready(call.platform, request["EndpointName"])
    variants = {name: dict(each) for name, each in found.body["variants"].items()}
    for wanted in request["DesiredWeightsAndCapacities"]:
        name = wanted["VariantName"]
        if name not in variants:
            known = ", ".join(variants)
            raise AwsError("ValidationException", f"VariantName {name!r} is none of {found.name}'s: {known}.")
        if "DesiredWeight" in wanted:
            variants[name]["weight"] = wanted["DesiredWeight"]
    call.platform.documents.change(found.kind, found.name, variants=variants)
    return {"EndpointArn": kept.arn_of(WORD, found.name)}


@SAGEMAKER.operation
async def describe_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """An endpoint with its variants and their weights."""
    platform = call.platform
    found = kept.get(platform, WORD, request["EndpointName"])
    if found.body["status"] in ("Creating", "Updating") and not tasks(platform).runs(f"endpoint {found.name}"):
        # The server was started anew in between.
        variants = _variants(platform, found.body["config"])
        tasks(platform).start(f"endpoint {found.name}", bring_up(platform, found.name, variants, found.body["config"]))
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
    failure = {"FailureReason": found.body["failure"]} if found.body.get("failure") else {}
    return {**_summary(found), "EndpointConfigName": found.body["config"], "ProductionVariants": shown, **failure}


@SAGEMAKER.operation
def list_endpoints(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Endpoints by name and status."""
    found, following = kept.page(call.platform, WORD, request, _summary)
    return {"Endpoints": found, **following}


@SAGEMAKER.operation
async def delete_endpoint(call: Call, request: dict[str, Any]) -> None:
    """End an endpoint; its models and configuration stay."""
    found = kept.get(call.platform, WORD, request["EndpointName"])
    await tasks(call.platform).cancel(f"endpoint {found.name}")
    kept.delete(call.platform, WORD, found.name)


async def bring_up(platform: Platform, name: str, variants: Mapping[str, Any], config: str) -> None:
    """Start an engine for every variant, then let them answer; what fails leaves the old ones in place."""
    before = platform.documents.get(kept.kind_of(WORD), name).body["status"]
    try:
        for variant in variants.values():
            if variant["served"]:
                await engine_for(platform, variant["served"])
    except PumiceError as error:
        status = "Failed" if before == "Creating" else "InService"
        reason = " ".join(str(error).split())
        platform.documents.change(kept.kind_of(WORD), name, status=status, failure=reason)
        LOGGER.warning("endpoint %s: %s", name, reason)
        return
    platform.documents.change(kept.kind_of(WORD), name, status="InService", variants=dict(variants), config=config)


async def engine_for(platform: Platform, name: str) -> None:
    """Have an engine that answers for `name`. Raises `PumiceError` when there cannot be one."""
    await platform.ready(await asyncio.to_thread(platform.names.find, name))


def _variants(platform: Platform, config: str) -> dict[str, Any]:
    """The variants of a configuration: for each its weight and what it serves, None where components do."""
    found = kept.get(platform, "endpoint-config", config).body["request"]["ProductionVariants"]
    return {
        each["VariantName"]: {
            "weight": each.get("InitialVariantWeight", 1.0),
            "served": kept.get(platform, "model", each["ModelName"]).body["served"] if "ModelName" in each else None,
        }
        for each in found
    }


def _weight(found: Document, name: str, variant: Mapping[str, Any]) -> float:
    return float(found.body["variants"].get(name, variant)["weight"])


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
