"""Custom models: every version in the registry, whichever way it came there. Knows no job's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pumice.api import training
from pumice.api.aws.bedrock import customization, tags, users
from pumice.api.aws.names import ACCOUNT, base_arn, custom_arn, find_version, imported_arn, tail
from pumice.api.aws.paging import page
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.openai.refusals import near
from pumice.api.platform import Platform
from pumice.api.training import Story
from pumice.errors import ConflictError, NotFoundError
from pumice.records import Kind, Model
from pumice.registry.imports import METHOD as IMPORTED
from pumice.registry.models import Registry
from pumice.train.methods import METHODS

_ECHOED = ("hyperParameters", "trainingDataConfig", "validationDataConfig", "outputDataConfig")
_FILTERS = {
    "baseModelArnEquals": "baseModelArn",
    "foundationModelArnEquals": "baseModelArn",
    "modelStatus": "modelStatus",
}
_TYPES = {
    IMPORTED: "IMPORTED",
    "cpt": "CONTINUED_PRE_TRAINING",
    "pretrain": "CONTINUED_PRE_TRAINING",
    "distill": "DISTILLATION",
    "rlhf": "REINFORCEMENT_FINE_TUNING",
}
"""Bedrock's word for a method; of all others it is fine-tuning, on texts it is not."""
_BASE_NAME = 63
"""Characters of `baseModelName`."""


@BEDROCK.operation
def list_custom_models(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Every version, in pages; one name may have several."""
    registry, types = call.platform.registry, _types(call.platform)
    # All of them belong to the one account that there is.
    models = registry.list() if request.get("isOwned", True) else ()
    items = [summary(model, registry, types) for model in models]
    for key, member in _FILTERS.items():
        items = [each for each in items if request.get(key) in (None, each[member])]
    found, following = page(items, request, "modelName")
    return {"modelSummaries": found, **following}


@BEDROCK.operation
def get_custom_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One version, with what is known of the job that made it."""
    platform = call.platform
    model = find(platform, request["modelIdentifier"])
    order = customization.ORDERS.of_job(platform, model.job)
    asked: Mapping[str, Any] = order.request if order else {}
    story = training.read_story(platform, order.job) if order and order.job else Story(())
    job = {"jobName": order.name, "jobArn": order.arn} if order else {}
    keys = {"modelKmsKeyArn": asked["customModelKmsKeyId"]} if "customModelKmsKeyId" in asked else {}
    told = summary(model, platform.registry, _types(platform))
    told = {key: value for key, value in told.items() if key not in ("baseModelName", "ownerAccountId")}
    failure = {"failureMessage": f"The files of {model.id} are gone."} if told["modelStatus"] == "Failed" else {}
    metrics = customization.metrics(story, asked)
    return {**told, **{key: asked[key] for key in _ECHOED if key in asked}, **job, **keys, **metrics, **failure}


@BEDROCK.operation
def delete_custom_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Remove a version for ever; its number is not used again."""
    remove(call.platform, find(call.platform, request["modelIdentifier"]))
    return {}


def find(platform: Platform, identifier: str) -> Model:
    """The version that a name, `name@version` or an ARN means. Raises `NotFoundError` with the nearest names."""
    if model := find_version(identifier, platform.registry):
        return model
    hint = near(identifier, {each.name for each in platform.registry.list()})
    raise NotFoundError(f"modelIdentifier: there is no model {identifier!r}.{hint}", fix="ListCustomModels gives them.")


def remove(platform: Platform, model: Model) -> None:
    """Delete a version and its tags. Raises `ConflictError` while anything would stop working without it."""
    if found := users.users_of(platform, model.id):
        fix = "Delete those first, or wait for the jobs' end."
        raise ConflictError(f"{model.id} is in use by {', '.join(found)}.", "They cannot answer without it.", fix)
    platform.registry.delete(model.id)
    for each in (custom_arn(model), imported_arn(model)):
        tags.forget(platform, each)


def summary(model: Model, registry: Registry, types: Mapping[str, str]) -> dict[str, Any]:
    """A version as lists show it; `types` are those of the jobs that came over this wire."""
    base = base_arn(model.base, registry)
    return {
        "modelArn": custom_arn(model),
        "modelName": model.name,
        "creationTime": model.created,
        "baseModelArn": base,
        "baseModelName": tail(base)[:_BASE_NAME],
        "customizationType": types.get(model.job or "") or _guess(model),
        "ownerAccountId": ACCOUNT,
        "modelStatus": "Active" if model.folder.is_dir() else "Failed",
    }


def _types(platform: Platform) -> dict[str, str]:
    """The type of customization by job."""
    orders = platform.documents.list(customization.ORDERS.kind)
    return {each.body["job"]: each.body["request"].get("customizationType", "FINE_TUNING") for each in orders}


def _guess(model: Model) -> str:
    """What Bedrock would call the way that a version came by."""
    if model.method in _TYPES:
        return _TYPES[model.method]
    # Of a method that reads texts as well as answers, the report tells which: texts have no answers that could match.
    reads = model.method in METHODS and Kind.TEXT in METHODS[model.method].kinds
    text = reads and model.report is not None and model.report.base.exact_match is None
    return "CONTINUED_PRE_TRAINING" if text else "FINE_TUNING"
