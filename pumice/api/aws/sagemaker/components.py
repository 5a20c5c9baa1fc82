"""Inference components: several models behind one endpoint, each asked for by its name. Knows no engine."""

from __future__ import annotations

import asyncio
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.sagemaker.models import resolve
from pumice.api.aws.sagemaker.rising import COMPONENT as WORD
from pumice.api.aws.sagemaker.rising import Rising
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.records import Document


@SAGEMAKER.operation
async def create_inference_component(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Put a model, or an adapter over another component's base, behind an endpoint."""
    platform, name = call.platform, request["InferenceComponentName"]

    def keep() -> None:
        endpoint = kept.get(platform, "endpoint", request["EndpointName"])
        variant = request.get("VariantName")
        if variant is not None and variant not in endpoint.body["variants"]:
            known = ", ".join(endpoint.body["variants"])
            raise AwsError("ValidationException", f"VariantName {variant!r} is none of {endpoint.name}'s: {known}.")
        served = _served(platform, request.get("Specification", {}))
        body = {"request": request, "endpoint": endpoint.name, "served": served, "status": "Creating", "failure": ""}
        kept.add(platform, WORD, name, body)

    await asyncio.to_thread(keep)
    await platform.part(Rising).begin(WORD, name)
    return {"InferenceComponentArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
def describe_inference_component(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A component and its status."""
    found = kept.get(call.platform, WORD, request["InferenceComponentName"])
    specification = found.body["request"].get("Specification", {})
    known = ("ModelName", "BaseInferenceComponentName", "ComputeResourceRequirements", "StartupParameters")
    shown = {key: value for key, value in specification.items() if key in known}
    if "Container" in specification:
        shown["Container"] = {
            key: value for key, value in specification["Container"].items() if key in ("ArtifactUrl", "Environment")
        }
    failure = {"FailureReason": found.body["failure"]} if found.body["failure"] else {}
    return {**_summary(found), "Specification": shown, **failure}


@SAGEMAKER.operation
def list_inference_components(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Components, of one endpoint or variant if asked so."""
    wanted = {"EndpointName": request.get("EndpointNameEquals"), "VariantName": request.get("VariantNameEquals")}

    def summary(found: Document) -> dict[str, Any] | None:
        told = _summary(found)
        return told if all(value in (None, told[key]) for key, value in wanted.items()) else None

    found, following = kept.page(call.platform, WORD, request, summary, "InferenceComponentStatus")
    return {"InferenceComponents": found, **following}


@SAGEMAKER.operation
async def delete_inference_component(call: Call, request: dict[str, Any]) -> None:
    """Take a component away; refused while another one uses it as its base."""
    platform = call.platform

    def find() -> str:
        found = kept.get(platform, WORD, request["InferenceComponentName"])
        for other in platform.documents.list(kept.kind_of(WORD)):
            if other.body["request"].get("Specification", {}).get("BaseInferenceComponentName") == found.name:
                sentence = f"{found.name} is the base of component {other.name}: delete that first."
                raise AwsError("ValidationException", sentence)
        return found.name

    name = await asyncio.to_thread(find)
    await platform.part(Rising).leave(WORD, name)
    await asyncio.to_thread(kept.delete, platform, WORD, name)


def _served(platform: Platform, specification: dict[str, Any]) -> str:
    """The version or base that a component is to answer with."""
    if base := specification.get("BaseInferenceComponentName"):
        kept.get(platform, WORD, base)
    if "ModelName" in specification:
        return str(kept.get(platform, "model", specification["ModelName"]).body["served"])
    container = specification.get("Container", {})
    source = {"ModelDataUrl": container["ArtifactUrl"]} if "ArtifactUrl" in container else {}
    return resolve(platform, {**source, "Environment": container.get("Environment", {})})


def _summary(found: Document) -> dict[str, Any]:
    endpoint = found.body["endpoint"]
    return {
        "InferenceComponentName": found.name,
        "InferenceComponentArn": kept.arn_of(WORD, found.name),
        "EndpointName": endpoint,
        "EndpointArn": kept.arn_of("endpoint", endpoint),
        "VariantName": found.body["request"].get("VariantName", "AllTraffic"),
        "InferenceComponentStatus": found.body["status"],
        "CreationTime": found.created,
        "LastModifiedTime": found.updated,
    }
