"""Inference components: several models behind one endpoint, each asked for by its name. Knows no engine."""

from __future__ import annotations

from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.sagemaker.endpoints import engine_for
from pumice.api.aws.sagemaker.models import resolve
from pumice.api.aws.sagemaker.rising import tasks
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.errors import PumiceError
from pumice.records import Document

WORD = "inference-component"


@SAGEMAKER.operation
async def create_inference_component(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Put a model, or an adapter over another component's base, behind an endpoint."""
    platform, name = call.platform, request["InferenceComponentName"]
    endpoint = kept.get(platform, "endpoint", request["EndpointName"])
    specification = request.get("Specification", {})
    if base := specification.get("BaseInferenceComponentName"):
        kept.get(platform, WORD, base)
    if "ModelName" in specification:
        served = kept.get(platform, "model", specification["ModelName"]).body["served"]
    else:
        container = specification.get("Container", {})
        source = {"ModelDataUrl": container["ArtifactUrl"]} if "ArtifactUrl" in container else {}
        served = resolve(platform, {**source, "Environment": container.get("Environment", {})})
    body = {"request": request, "endpoint": endpoint.name, "served": served, "status": "Creating"}
    platform.documents.add(kept.kind_of(WORD), name, body)
    tasks(platform).start(f"component {name}", _bring_up(call, name, served))
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
    failure = {"FailureReason": found.body["failure"]} if found.body.get("failure") else {}
    return {**_summary(found), "Specification": shown, **failure}


@SAGEMAKER.operation
def list_inference_components(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Components, of one endpoint if asked so."""
    found, following = kept.page(call.platform, WORD, request, _summary)
    wanted = request.get("EndpointNameEquals")
    return {"InferenceComponents": [each for each in found if wanted in (None, each["EndpointName"])], **following}


@SAGEMAKER.operation
async def delete_inference_component(call: Call, request: dict[str, Any]) -> None:
    """Take a component away; refused while another one uses it as its base."""
    found = kept.get(call.platform, WORD, request["InferenceComponentName"])
    for other in call.platform.documents.list(kept.kind_of(WORD)):
        if other.body["request"].get("Specification", {}).get("BaseInferenceComponentName") == found.name:
            raise AwsError(
                "ValidationException", f"{found.name} is the base of component {other.name}: delete that first."
            )
    await tasks(call.platform).cancel(f"component {found.name}")
    kept.delete(call.platform, WORD, found.name)


async def _bring_up(call: Call, name: str, served: str) -> None:
    try:
        await engine_for(call.platform, served)
    except PumiceError as error:
        reason = " ".join(str(error).split())
        call.platform.documents.change(kept.kind_of(WORD), name, status="Failed", failure=reason)
        return
    call.platform.documents.change(kept.kind_of(WORD), name, status="InService")


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
