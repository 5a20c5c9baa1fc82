"""Foundation models: the bases of the catalogue, as Bedrock lists them. Does not know which are on disk."""

from __future__ import annotations

from typing import Any

from pumice.api.aws.names import REGION, find_entry, foundation_id, provider
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.openai.refusals import near
from pumice.bases.catalogue import CATALOGUE, EMBEDDERS, Entry
from pumice.errors import NotFoundError

NAME_LENGTH = 20
"""Characters that a model's name may have on this wire."""
# What each filter looks at.
_FILTERS = {
    "byCustomizationType": "customizationsSupported",
    "byOutputModality": "outputModalities",
    "byInferenceType": "inferenceTypesSupported",
}


@BEDROCK.operation
def list_foundation_models(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The catalogue, narrowed by provider, by what can be done with a base, and by what comes out of it."""
    wanted = request.get("byProvider", "").lower()
    found = [summary(entry) for entry in (*CATALOGUE, *EMBEDDERS) if wanted in ("", provider(entry).lower())]
    for key, member in _FILTERS.items():
        found = [each for each in found if key not in request or request[key] in each[member]]
    return {"modelSummaries": found}


@BEDROCK.operation
def get_foundation_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One base, by its catalogue id, its id here or its ARN."""
    return {"modelDetails": summary(known(request["modelIdentifier"]))}


@BEDROCK.operation
def get_foundation_model_availability(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Whether a base may be used: always, as licences are agreed to where the weights come from."""
    return {
        "modelId": foundation_id(known(request["modelId"])),
        "agreementAvailability": {"status": "AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": "AVAILABLE",
        "regionAvailability": "AVAILABLE",
    }


def known(identifier: str) -> Entry:
    """The base that is meant. Raises `NotFoundError` with the nearest ids."""
    if entry := find_entry(identifier):
        return entry
    ids = [foundation_id(each) for each in (*CATALOGUE, *EMBEDDERS)]
    raise NotFoundError(
        f"modelIdentifier: there is no foundation model {identifier!r}.{near(identifier, ids)}",
        fix="ListFoundationModels gives the ids.",
    )


def summary(entry: Entry) -> dict[str, Any]:
    """A base as Bedrock describes one."""
    id, embeds = foundation_id(entry), entry in EMBEDDERS
    return {
        "modelArn": f"arn:aws:bedrock:{REGION}::foundation-model/{id}",
        "modelId": id,
        # Long names say the same as the id does.
        "modelName": entry.name.replace(" Instruct", "").removesuffix(", embeddings")[:NAME_LENGTH].strip(),
        "providerName": provider(entry),
        # Text is all that the engines read, also of a base that could see.
        "inputModalities": ["TEXT"],
        "outputModalities": ["EMBEDDING" if embeds else "TEXT"],
        "responseStreamingSupported": not embeds,
        "customizationsSupported": [] if embeds else ["FINE_TUNING", "CONTINUED_PRE_TRAINING"],
        "inferenceTypesSupported": ["ON_DEMAND"] if embeds else ["ON_DEMAND", "PROVISIONED"],
        "modelLifecycle": {"status": "ACTIVE"},
    }
