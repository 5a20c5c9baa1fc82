"""What a client may send as `modelId`, to what answers it. Knows no body. All of it blocks."""

from __future__ import annotations

from dataclasses import replace

from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import find_entry, find_version, resource
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.bases import resolve
from pumice.bases.catalogue import EMBEDDERS
from pumice.records import Base

DEPLOYMENT = "bedrock-deployment"
PROVISIONED = "bedrock-provisioned"
_REGIONS = ("us.", "eu.", "apac.", "global.", "us-gov.")


def find(platform: Platform, model_id: str) -> Served:
    """What answers to a model's id, a version's name, or the ARN of either, of a deployment or of provisioned capacity.

    Percent-encoding is already undone. Raises `AwsError`, or as `Names.find` does.
    """
    kind, _, id = resource(model_id).partition("/") if model_id.startswith("arn:") else ("", "", "")
    if kind == "custom-model-deployment":
        return _deployed(platform, model_id, id)
    if kind == "provisioned-model":
        return _provisioned(platform, model_id, id)
    if kind == "inference-profile" or (not kind and model_id.startswith(_REGIONS)):
        raise _absent(f"There is no inference profile {model_id!r}: one machine has no regions. Send the model's id.")
    if version := find_version(model_id, platform.registry):
        return platform.names.find(version.id)
    if entry := find_entry(model_id):
        return _base(platform, entry.id)
    if kind:
        raise _absent(f"There is no model {model_id!r}. ListFoundationModels and ListCustomModels name what there is.")
    kept = (each.name for each in platform.documents.list(PROVISIONED) if each.body["name"] == model_id)
    if lane := next(kept, None):
        return _provisioned(platform, model_id, lane)
    return platform.names.find(model_id)


def find_embedder(platform: Platform, model_id: str) -> Base | None:
    """The base that makes vectors under this id, None when it names a model that answers."""
    entry = find_entry(model_id)
    return resolve.resolve(entry.id, platform.home) if entry in EMBEDDERS and entry else None


def _base(platform: Platform, id: str) -> Served:
    if id not in platform.names.bases():
        raise _not_ready(f"The base {id} is known, but nothing here stands on it yet; it answers once it was tuned.")
    return platform.names.find(id)


def _deployed(platform: Platform, model_id: str, id: str) -> Served:
    document = platform.documents.find(DEPLOYMENT, id)
    if document is None:
        raise _absent(f"There is no custom model deployment {model_id!r}.")
    if document.body["status"] != "Active":
        why = document.body["failure"] or "its model is being loaded; ask again in a moment."
        raise _not_ready(f"The deployment {model_id} is {document.body['status']}: {why}")
    return _model(platform, document.body["modelArn"], f"The deployment {model_id}")


def _provisioned(platform: Platform, model_id: str, id: str) -> Served:
    document = platform.documents.find(PROVISIONED, id)
    if document is None:
        raise _absent(f"There is no provisioned model {model_id!r}.")
    return replace(_model(platform, document.body["modelArn"], f"The provisioned model {model_id}"), lane=id)


def _model(platform: Platform, arn: str, who: str) -> Served:
    version = find_version(arn, platform.registry)
    entry = None if version else find_entry(arn)
    if version is None and entry is None:
        raise _not_ready(f"{who} cannot answer: its model {arn} was deleted.")
    return platform.names.find(version.id) if version else _base(platform, entry.id if entry else arn)


def _absent(sentence: str) -> AwsError:
    return AwsError("ResourceNotFoundException", sentence, 404)


def _not_ready(sentence: str) -> AwsError:
    return AwsError("ModelNotReadyException", sentence, 429)
