"""Customization jobs: a recipe, said in Bedrock's words. Does not train, and does not know where the words are kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pumice.api import training
from pumice.api.aws.bedrock import tags
from pumice.api.aws.bedrock.hyperparameters import recipe_values
from pumice.api.aws.bedrock.metrics_csv import keep
from pumice.api.aws.bedrock.orders import Order, Orders, check_model_name
from pumice.api.aws.names import base_arn, custom_arn, find_entry, find_version, foundation_id
from pumice.api.aws.paging import page
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.openai.refusals import near
from pumice.api.platform import Platform
from pumice.api.training import Story
from pumice.bases.catalogue import CATALOGUE
from pumice.data import formats
from pumice.data.rows import Log
from pumice.errors import InputError, NotFoundError, RequestError
from pumice.records import Event, Job, JobState, Kind
from pumice.store.s3 import Objects, split

ORDERS = Orders("bedrock-customization-job", "customization job")
_TYPES = ("FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION", "REINFORCEMENT_FINE_TUNING")
_RFT = {
    "epochCount": ("epochs",),
    "batchSize": ("batch_size",),
    "learningRate": ("learning_rate",),
    "trainingSamplePerPrompt": ("rlhf", "answers"),
    "inferenceMaxTokens": ("rlhf", "max_tokens"),
}
"""Hyper-parameters of reinforcement fine-tuning, and the keys of a recipe that they are."""
_ECHOED = ("roleArn", "hyperParameters", "trainingDataConfig", "outputDataConfig", "vpcConfig")


@BEDROCK.operation
def create_model_customization_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Check the request, keep its words, and queue the recipe that it says."""
    platform = call.platform
    model = base_model(platform, request["baseModelIdentifier"])
    entry = find_entry(model)
    of = foundation_id(entry) if entry else base_arn(platform.registry.find(model).base, platform.registry)
    resource = f"model-customization-job/{of.rpartition('/')[2]}"
    return {"jobArn": ORDERS.place(platform, request, resource, lambda: _submit(platform, request, model))}


@BEDROCK.operation
def get_model_customization_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """How a job stands, with its losses once there are any."""
    platform = call.platform
    order = ORDERS.find(platform, request["jobIdentifier"])
    settle(platform, order)
    story = _story(platform, order)
    asked = order.request
    told = {key: asked[key] for key in _ECHOED if key in asked}
    keys = {"outputModelKmsKeyArn": asked["customModelKmsKeyId"]} if "customModelKmsKeyId" in asked else {}
    token = order.document.body["token"]
    return {
        **told,
        **keys,
        **order.times,
        **metrics(story, asked),
        **_made(platform, order, "outputModelArn"),
        **({"clientRequestToken": token} if token else {}),
        **({"failureMessage": order.failure(story.events)} if order.status == "Failed" else {}),
        "jobArn": order.arn,
        "jobName": order.name,
        "outputModelName": asked["customModelName"],
        "status": order.status,
        "statusDetails": details(order, story.events),
        "baseModelArn": order_base(platform, order),
        "validationDataConfig": asked.get("validationDataConfig", {"validators": []}),
        "customizationType": asked.get("customizationType", "FINE_TUNING"),
    }


@BEDROCK.operation
def list_model_customization_jobs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The jobs that came over this wire, in pages."""
    platform = call.platform
    orders = {order.name: order for order in ORDERS.list(platform)}
    for order in orders.values():
        settle(platform, order)
    items = [{"jobName": order.name, "status": order.status, **order.times} for order in orders.values()]
    found, following = page(items, request, "jobName")
    return {
        "modelCustomizationJobSummaries": [_summary(platform, orders[each["jobName"]]) for each in found],
        **following,
    }


@BEDROCK.operation
def stop_model_customization_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Have the job write a checkpoint and end; `pumice jobs resume` goes on from there."""
    ORDERS.stop(call.platform, request["jobIdentifier"])
    return {}


def base_model(platform: Platform, identifier: str) -> str:
    """What a recipe calls the model that an identifier means. Raises `NotFoundError` with the nearest ids."""
    if (entry := find_entry(identifier)) and entry in CATALOGUE:
        return entry.id
    if version := find_version(identifier, platform.registry):
        return version.id
    known = [*(foundation_id(each) for each in CATALOGUE), *(each.name for each in platform.registry.list())]
    raise NotFoundError(
        f"baseModelIdentifier: {identifier!r} is no model that can be trained here.{near(identifier, known)}",
        fix="ListFoundationModels and ListCustomModels give those that can.",
    )


def order_base(platform: Platform, order: Order) -> str:
    """The ARN of what a job started from."""
    model = order.job.spec["model"] if order.job else order.request["baseModelIdentifier"]
    version = find_version(model, platform.registry)
    return custom_arn(version) if version else base_arn(model, platform.registry)


def metrics(story: Story, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The last step's loss and, where rows were set apart for it, the loss after training."""
    told: dict[str, Any] = {"trainingMetrics": {"trainingLoss": story.steps[-1].loss}} if story.steps else {}
    loss = story.report["tuned"]["loss"] if story.report else None
    if loss is not None and asked.get("validationDataConfig", {}).get("validators"):
        told["validationMetrics"] = [{"validationLoss": loss}]
    return told


def details(order: Order, events: tuple[Event, ...]) -> dict[str, Any]:
    """The three phases of a job with their times: rows are checked, everything is made ready, steps are made."""
    starts = [
        next((event.at for event in events if event.kind == "stage"), None),
        next((event.at for event in events if event.kind == "data"), None),
        next((event.at for event in events if event.kind == "step"), None),
    ]
    end = order.job.ended if order.job and order.job.state is JobState.SUCCEEDED else None
    names = ("validationDetails", "dataProcessingDetails", "trainingDetails")
    return {
        name: _phase(order, start, following)
        for name, start, following in zip(names, starts, [*starts[1:], end], strict=True)
    }


def settle(platform: Platform, order: Order) -> None:
    """Write what a job that succeeded leaves in S3, once, and tag its model."""
    if order.document.body["settled"] or order.job is None or order.job.state is not JobState.SUCCEEDED:
        return
    keep(platform, order, training.read_story(platform, order.job))
    if order.job.model and (model := find_version(order.job.model, platform.registry)):
        tags.put(platform, custom_arn(model), order.request.get("customModelTags"))
    ORDERS.settled(platform, order)


def _submit(platform: Platform, request: Mapping[str, Any], model: str) -> tuple[Job, dict[str, str]]:
    """Queue the recipe; returns the job, and which of its files was which object."""
    method = _method(platform, request)
    _check(request)
    values = merged(recipe_values(request.get("hyperParameters", {})), method)
    objects = Objects(platform.home.s3)
    named = {"data": _training_uri(request)}
    if validators := request.get("validationDataConfig", {}).get("validators"):
        named["validation"] = validators[0]["s3Uri"]
    files = {key: objects.path(uri) for key, uri in named.items()}
    check_kind(files["data"], named["data"], request.get("customizationType", "FINE_TUNING"))
    values |= {"model": model, "name": request["customModelName"]}
    job = training.submit(platform, values, files["data"], files.get("validation"))
    return job, {str(job.spec[key]): uri for key, uri in named.items()}


def _method(platform: Platform, request: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's keys that the type of customization stands for. Raises `RequestError` for what has no equal here."""
    type = request.get("customizationType", "FINE_TUNING")
    config = request.get("customizationConfig", {})
    if type not in _TYPES:
        raise RequestError(
            f"customizationType: {type} is not served here.",
            fix=f"{', '.join(_TYPES)} are.",
            field="customizationType",
        )
    match type:
        case "DISTILLATION" if "distillationConfig" in config:
            return {"method": "distill", "distill": _teacher(platform, config["distillationConfig"])}
        case "REINFORCEMENT_FINE_TUNING":
            return _rewarded(config.get("rftConfig", {}))
        case _ if config or type == "DISTILLATION":
            has = "needs distillationConfig" if type == "DISTILLATION" else "has none"
            raise RequestError(f"customizationConfig: {type} {has}.", field="customizationConfig")
    return {}


def _teacher(platform: Platform, config: Mapping[str, Any]) -> dict[str, Any]:
    told = config["teacherModelConfig"]
    length = told.get("maxResponseLengthForInference")
    teacher = {"teacher": base_model(platform, told["teacherModelIdentifier"])}
    return teacher | ({"max_tokens": length} if length else {})


def _rewarded(config: Mapping[str, Any]) -> dict[str, Any]:
    if "graderConfig" in config:
        raise RequestError(
            "customizationConfig.rftConfig.graderConfig: no Lambda function runs here.",
            "The scorer is the hyperparameter pumice.rlhf.reward: exact, json, regex:…, length:N or a reward model.",
            "Leave graderConfig out, and say that.",
            field="customizationConfig.rftConfig.graderConfig",
        )
    values: dict[str, Any] = {"method": "rlhf"}
    for name, value in config.get("hyperParameters", {}).items():
        if name not in _RFT:
            field = f"customizationConfig.rftConfig.hyperParameters.{name}"
            raise RequestError(f"{field} is not served here.", fix=f"{', '.join(_RFT)} are.", field=field)
        *tables, last = _RFT[name]
        (values.setdefault(tables[0], {}) if tables else values)[last] = value
    return values


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both, table by table; what `more` says counts."""
    both = dict(values)
    for key, value in more.items():
        both[key] = {**both.get(key, {}), **value} if isinstance(value, dict) else value
    return both


def _check(request: Mapping[str, Any]) -> None:
    """Raise `RequestError` for what a recipe could not name in the caller's words."""
    check_model_name("customModelName", request["customModelName"])
    split(f"{request['outputDataConfig']['s3Uri'].rstrip('/')}/metrics")
    tags.check(request.get("customModelTags"))
    if len(request.get("validationDataConfig", {}).get("validators", ())) > 1:
        raise RequestError(
            "validationDataConfig.validators: there is one validation file a job.",
            fix="Put the rows of all of them into one.",
            field="validationDataConfig.validators",
        )


def check_kind(data: Path, uri: str, type: str) -> None:
    """Raise `RequestError` when the rows are of a kind for another type; what is wrong in them the job says."""
    log = Log(uri)
    try:
        next(formats.examples(data, log), None)
    except InputError as error:
        what = str(error).replace(str(data), uri)
        raise RequestError(f"trainingDataConfig.s3Uri: {what}", field="trainingDataConfig.s3Uri") from error
    # Which of the other kinds it must be is said by the method, and so by the job.
    fitting = "CONTINUED_PRE_TRAINING" if log.kind is Kind.TEXT else "FINE_TUNING"
    if log.kind is None or type not in ("CONTINUED_PRE_TRAINING", "FINE_TUNING") or type == fitting:
        return
    raise RequestError(
        f"trainingDataConfig.s3Uri: its rows are {log.kind} data, which is for {fitting}; customizationType is {type}.",
        field="trainingDataConfig.s3Uri",
    )


def _training_uri(request: Mapping[str, Any]) -> str:
    config = request["trainingDataConfig"]
    if "s3Uri" not in config:
        raise RequestError(
            "trainingDataConfig.s3Uri is missing; invocationLogsConfig is not served here.",
            fix="Name an object of rows: s3://bucket/key.",
            field="trainingDataConfig.s3Uri",
        )
    return str(config["s3Uri"])


def _story(platform: Platform, order: Order) -> Story:
    return training.read_story(platform, order.job) if order.job else Story(())


def _phase(order: Order, start: datetime | None, following: datetime | None) -> dict[str, Any]:
    """One phase: it is over when the next has begun, and until then it stands as the job does."""
    if start is None:
        return {"status": "NotStarted"}
    over = following is not None or order.status == "Completed"
    changed = following or order.changed
    return {
        "status": "Completed" if over else order.status,
        "creationTime": start,
        "lastModifiedTime": max(start, changed),
    }


def _made(platform: Platform, order: Order, key: str) -> dict[str, str]:
    """The ARN of the model, once there is one, and as long as it is not deleted."""
    model = find_version(order.job.model, platform.registry) if order.job and order.job.model else None
    return {key: custom_arn(model)} if model else {}


def _summary(platform: Platform, order: Order) -> dict[str, Any]:
    return {
        **order.times,
        **_made(platform, order, "customModelArn"),
        "jobArn": order.arn,
        "jobName": order.name,
        "status": order.status,
        "statusDetails": details(order, _story(platform, order).events),
        "baseModelArn": order_base(platform, order),
        "customModelName": order.request["customModelName"],
        "customizationType": order.request.get("customizationType", "FINE_TUNING"),
    }
