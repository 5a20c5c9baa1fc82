"""Evaluation jobs: a custom model on a prompt dataset in S3, compared with its base. Does not ask any model itself."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from pumice.api import training
from pumice.api.aws.bedrock import custom_models, tags
from pumice.api.aws.bedrock.orders import Order, Orders
from pumice.api.aws.names import custom_arn, find_version, slug
from pumice.api.aws.paging import page
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.errors import NotFoundError, RequestError
from pumice.evaluate.score import exact_match, rouge_l, token_f1
from pumice.evaluate.trial import MOST
from pumice.records import Job, JobState
from pumice.store.files import write_atomic
from pumice.store.s3 import Objects, split

ORDERS = Orders("bedrock-evaluation-job", "evaluation job")
ACCURACY = "Builtin.Accuracy"
_SCORES: Mapping[str, Callable[[str, str], float]] = {
    "Classification": exact_match,
    "Summarization": rouge_l,
    "Generation": rouge_l,
}
"""What accuracy is for a type of task; token F1 for the others."""
_ECHOED = (
    "jobDescription",
    "roleArn",
    "customerEncryptionKeyId",
    "applicationType",
    "evaluationConfig",
    "inferenceConfig",
    "outputDataConfig",
)


@BEDROCK.operation
def create_evaluation_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Check the request and the prompts, and queue the comparison."""
    platform = call.platform
    return {"jobArn": ORDERS.place(platform, request, "evaluation-job", lambda: _submit(platform, request))}


@BEDROCK.operation
def get_evaluation_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """How an evaluation stands."""
    platform = call.platform
    order = ORDERS.find(platform, request["jobIdentifier"])
    settle(platform, order)
    events = platform.queue.read_events(order.job.id)[0] if order.job else ()
    return {
        **{key: order.request[key] for key in _ECHOED if key in order.request},
        **({"failureMessages": [order.failure(events)]} if order.status == "Failed" else {}),
        "jobArn": order.arn,
        "jobName": order.name,
        "status": order.status,
        "jobType": "Automated",
        "creationTime": order.document.created,
        "lastModifiedTime": order.changed,
    }


@BEDROCK.operation
def list_evaluation_jobs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The evaluations that came over this wire, in pages."""
    platform = call.platform
    orders = ORDERS.list(platform)
    for order in orders:
        settle(platform, order)
    wanted = request.get("applicationTypeEquals", "ModelEvaluation")
    items = [_summary(order) for order in orders if wanted == "ModelEvaluation"]
    found, following = page(items, request, "jobName")
    return {"jobSummaries": found, **following}


@BEDROCK.operation
def stop_evaluation_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """End an evaluation early; it has no results then."""
    ORDERS.stop(call.platform, request["jobIdentifier"])
    return {}


@BEDROCK.operation
def batch_delete_evaluation_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Forget evaluations that have ended; what they have written in S3 stays."""
    deleted: list[dict[str, str]] = []
    errors: list[dict[str, str]] = []
    for identifier in request["jobIdentifiers"]:
        try:
            order = ORDERS.find(call.platform, identifier)
        except NotFoundError as error:
            errors.append({"jobIdentifier": identifier, "code": "404", "message": error.what})
            continue
        if order.status in ("InProgress", "Stopping"):
            sentence = f"{order.name} is {order.status}; stop it first."
            errors.append({"jobIdentifier": identifier, "code": "409", "message": sentence})
            continue
        settle(call.platform, order)
        call.platform.documents.delete(ORDERS.kind, order.name)
        tags.forget(call.platform, order.arn)
        deleted.append({"jobIdentifier": identifier, "jobStatus": "Deleting"})
    return {"evaluationJobs": deleted, "errors": errors}


def settle(platform: Platform, order: Order) -> None:
    """Write the results of a job that succeeded, once: a line a prompt, and the whole comparison."""
    if order.document.body["settled"] or order.job is None or order.job.state is not JobState.SUCCEEDED:
        return
    report = training.read_story(platform, order.job).report or {}
    config = _dataset_config(order.request)
    name = str(order.job.spec["model"])
    model = find_version(name, platform.registry)
    identifier = custom_arn(model) if model else name
    rows = [orjson.loads(line) for line in Path(order.job.spec["data"]).read_bytes().splitlines()]
    records = {row["prompt"]: row for row in rows}
    lines = [
        _line(sample, records.get(sample["question"], {}), identifier, config["taskType"])
        for sample in report.get("samples", ())
    ]
    top = f"{order.request['outputDataConfig']['s3Uri'].rstrip('/')}/{order.name}/{order.id}"
    where = f"models/{slug(name)}/taskTypes/{config['taskType']}/datasets/{config['dataset']['name']}"
    objects = Objects(platform.home.s3)
    objects.put(f"{top}/{where}/{order.id}_output.jsonl", b"".join(lines))
    objects.put(f"{top}/report.json", orjson.dumps(report, option=orjson.OPT_INDENT_2))
    ORDERS.settled(platform, order)


def _submit(platform: Platform, request: Mapping[str, Any]) -> tuple[Job, dict[str, str]]:
    """Queue the comparison; returns the job, and which object its file was."""
    model = custom_models.find(platform, _model(request))
    config = _dataset_config(request)
    uri = config["dataset"].get("datasetLocation", {}).get("s3Uri")
    if uri is None:
        name = config["dataset"]["name"]
        raise _refusal("datasetLocation", f"the dataset {name} is not here.", "Name your own: s3://bucket/key.")
    if others := [each for each in config["metricNames"] if each != ACCURACY]:
        raise _refusal("metricNames", f"{', '.join(others)} is not measured here.", f"{ACCURACY} is.")
    split(f"{request['outputDataConfig']['s3Uri'].rstrip('/')}/results")
    rows = read_prompts(Objects(platform.home.s3).path(uri), uri)
    data = platform.home.files / f"input-{secrets.token_hex(8)}" / "prompts.jsonl"
    write_atomic(data, b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    spec = {"model": model.id, "data": str(data), "samples": len(rows)}
    job = platform.queue.submit("evaluate", spec, background=True)
    platform.nudge()
    return job, {str(data): uri}


def read_prompts(path: Path, uri: str) -> list[dict[str, str]]:
    """Bedrock's rows, with the answer under the name that rows have here. Raises `RequestError` with the line."""
    with path.open("rb") as file:
        rows = [_prompt(line, f"{uri}:{number}") for number, line in enumerate(file, 1)]
    if not 1 <= len(rows) <= MOST:
        raise _refusal("datasetLocation", f"{uri} has {len(rows):,} prompts; a job takes 1 to {MOST}.")
    return rows


def _prompt(line: bytes, place: str) -> dict[str, str]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _refusal("datasetLocation", f"{place}: this is no JSON: {error}.") from error
    for key in ("prompt", "referenceResponse"):
        if type(row) is not dict or not isinstance(row.get(key), str) or not row[key].strip():
            raise _refusal("datasetLocation", f'{place}: "{key}" must be text that is not empty.')
    category = {"category": str(row["category"])} if row.get("category") else {}
    return {"prompt": row["prompt"], "completion": row["referenceResponse"], **category}


def _model(request: Mapping[str, Any]) -> str:
    """The one model that is asked. Raises `RequestError` for every other kind of evaluation."""
    models = request["inferenceConfig"].get("models", ())
    if len(models) != 1 or "bedrockModel" not in models[0]:
        what = "inferenceConfig.models: one bedrockModel is evaluated in a job."
        raise RequestError(what, fix="Make a job for each model.", field="inferenceConfig.models")
    if models[0]["bedrockModel"].get("inferenceParams", "{}") != "{}":
        field = "inferenceConfig.models.bedrockModel.inferenceParams"
        what = f"{field}: answers are the likeliest ones here, so that two runs give the same scores."
        raise RequestError(what, fix="Leave it out.", field=field)
    return str(models[0]["bedrockModel"]["modelIdentifier"])


def _dataset_config(request: Mapping[str, Any]) -> Mapping[str, Any]:
    config = request["evaluationConfig"].get("automated")
    if config is None:
        what = "evaluationConfig: people as judges are not served here."
        raise RequestError(what, fix="Say evaluationConfig.automated.", field="evaluationConfig")
    for key in ("evaluatorModelConfig", "customMetricConfig"):
        if key in config:
            raise _refusal(key, "models as judges are not served here.", "Leave it out.")
    configs = config["datasetMetricConfigs"]
    if len(configs) != 1:
        raise _refusal("datasetMetricConfigs", "there is one dataset a job.", "Make a job for each.")
    found: Mapping[str, Any] = configs[0]
    return found


def _refusal(key: str, what: str, fix: str = "") -> RequestError:
    return RequestError(f"evaluationConfig.automated.{key}: {what}", fix=fix, field=f"evaluationConfig.automated.{key}")


def _line(sample: Mapping[str, str], record: Mapping[str, str], model: str, task: str) -> bytes:
    """One prompt with the model's answer and its score, as Bedrock writes it."""
    score = _SCORES.get(task, token_f1)(sample["tuned"], sample["reference"])
    category = {"category": record["category"]} if "category" in record else {}
    told = {
        "automatedEvaluationResult": {"scores": [{"metricName": ACCURACY.removeprefix("Builtin."), "result": score}]},
        "inputRecord": {"prompt": sample["question"], "referenceResponse": sample["reference"], **category},
        "modelResponses": [{"response": sample["tuned"], "modelIdentifier": model}],
    }
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _summary(order: Order) -> dict[str, Any]:
    models = [_model(order.request)]
    return {
        "jobArn": order.arn,
        "jobName": order.name,
        "status": order.status,
        "creationTime": order.document.created,
        "jobType": "Automated",
        "evaluationTaskTypes": [_dataset_config(order.request)["taskType"]],
        "modelIdentifiers": models,
        "inferenceConfigSummary": {"modelConfigSummary": {"bedrockModelIdentifiers": models}},
        "applicationType": "ModelEvaluation",
    }
