"""Endpoint configurations: variants of a model with their weights. Knows no traffic."""

from __future__ import annotations

from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call

WORD = "endpoint-config"
UNSERVED = {
    "AsyncInferenceConfig": "asynchronous endpoints",
    "ShadowProductionVariants": "shadow variants",
    "DataCaptureConfig": "data capture: the request log keeps bodies instead",
    "ExplainerConfig": "explainers",
}


@SAGEMAKER.operation
def create_endpoint_config(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Keep a configuration. Every variant's model must be there; names of variants are told apart."""
    for field, what in UNSERVED.items():
        if request.get(field):
            raise AwsError("ValidationException", f"{field} is not served by Pumice ({what}).")
    names = [variant["VariantName"] for variant in request["ProductionVariants"]]
    if len(set(names)) < len(names):
        raise AwsError(
            "ValidationException", f"ProductionVariants: a VariantName is there twice in {', '.join(names)}."
        )
    for variant in request["ProductionVariants"]:
        # Without a model a variant serves inference components only.
        if "ModelName" in variant:
            kept.get(call.platform, "model", variant["ModelName"])
    name = request["EndpointConfigName"]
    kept.add(call.platform, WORD, name, {"request": request})
    return {"EndpointConfigArn": kept.arn_of(WORD, name)}


@SAGEMAKER.operation
def describe_endpoint_config(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A configuration as it was made."""
    found = kept.get(call.platform, WORD, request["EndpointConfigName"])
    asked = {key: value for key, value in found.body["request"].items() if key != "Tags"}
    return {**asked, "EndpointConfigArn": kept.arn_of(WORD, found.name), "CreationTime": found.created}


@SAGEMAKER.operation
def list_endpoint_configs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Configurations by name."""
    found, following = kept.page(
        call.platform,
        WORD,
        request,
        lambda each: {
            "EndpointConfigName": each.name,
            "EndpointConfigArn": kept.arn_of(WORD, each.name),
            "CreationTime": each.created,
        },
    )
    return {"EndpointConfigs": found, **following}


@SAGEMAKER.operation
def delete_endpoint_config(call: Call, request: dict[str, Any]) -> None:
    """Forget a configuration; endpoints keep what they were made of."""
    kept.delete(call.platform, WORD, request["EndpointConfigName"])
