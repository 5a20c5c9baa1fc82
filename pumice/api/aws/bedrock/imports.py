"""Import jobs and imported models: a prefix in S3 with Hugging Face files becomes a version. Does not read weights."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from typing import Any

from pumice.api import training
from pumice.api.aws.bedrock import custom_models
from pumice.api.aws.bedrock.orders import Order, Orders, check_model_name
from pumice.api.aws.names import find_version, imported_arn
from pumice.api.aws.paging import page
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.errors import NotFoundError
from pumice.records import Job, Model
from pumice.registry.imports import METHOD as IMPORTED
from pumice.store.s3 import Objects

ORDERS = Orders("bedrock-import-job", "import job")
_ECHOED = ("importedModelName", "roleArn", "modelDataSource", "vpcConfig")


@BEDROCK.operation
def create_model_import_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Keep the objects below a prefix as they are now, and queue their registration."""
    platform = call.platform
    return {"jobArn": ORDERS.place(platform, request, "model-import-job", lambda: _submit(platform, request))}


@BEDROCK.operation
def get_model_import_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """How an import stands."""
    platform = call.platform
    order = ORDERS.find(platform, request["jobIdentifier"])
    told = {key: order.request[key] for key in _ECHOED if key in order.request}
    if _status(order) == "Failed":
        events = platform.queue.read_events(order.job.id)[0] if order.job else ()
        told["failureMessage"] = order.failure(events)
    return {**told, **_summary(platform, order)}


@BEDROCK.operation
def list_model_import_jobs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The imports that came over this wire, in pages."""
    items = [_summary(call.platform, order) for order in ORDERS.list(call.platform)]
    found, following = page(items, request, "jobName")
    return {"modelImportJobSummaries": found, **following}


@BEDROCK.operation
def list_imported_models(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The versions whose weights were made elsewhere, in pages."""
    models = [each for each in call.platform.registry.list() if each.method == IMPORTED]
    found, following = page([_told(each) for each in models], request, "modelName")
    return {"modelSummaries": found, **following}


@BEDROCK.operation
def get_imported_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One imported version, with the job that brought it."""
    platform = call.platform
    model = _find(platform, request["modelIdentifier"])
    order = ORDERS.of_job(platform, model.job)
    source = {"modelDataSource": order.request["modelDataSource"]} if order else {}
    job = {"jobName": order.name, "jobArn": order.arn} if order else {}
    return {**_told(model), **source, **job}


@BEDROCK.operation
def delete_imported_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Remove an imported version for ever."""
    custom_models.remove(call.platform, _find(call.platform, request["modelIdentifier"]))
    return {}


def _submit(platform: Platform, request: Mapping[str, Any]) -> tuple[Job, dict[str, str]]:
    check_model_name("importedModelName", request["importedModelName"])
    training.check_name(request["importedModelName"])
    uri = request["modelDataSource"]["s3DataSource"]["s3Uri"]
    source = Objects(platform.home.s3).folder(uri)
    folder = platform.home.files / f"input-{secrets.token_hex(8)}"
    try:
        for file in sorted(each for each in source.iterdir() if each.is_file()):
            training.snapshot(file, folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    spec = {"name": request["importedModelName"], "folder": str(folder)}
    job = platform.queue.submit("import", spec, background=True)
    platform.nudge()
    return job, {str(folder): uri}


def _status(order: Order) -> str:
    """An import has no word for stopped or stopping."""
    return {"Stopping": "InProgress", "Stopped": "Failed"}.get(order.status, order.status)


def _summary(platform: Platform, order: Order) -> dict[str, Any]:
    model = find_version(order.job.model, platform.registry) if order.job and order.job.model else None
    return {
        **order.times,
        **({"importedModelArn": imported_arn(model)} if model else {}),
        "jobArn": order.arn,
        "jobName": order.name,
        "status": _status(order),
        "importedModelName": order.request["importedModelName"],
    }


def _find(platform: Platform, identifier: str) -> Model:
    model = custom_models.find(platform, identifier)
    if model.method != IMPORTED:
        fix = "GetCustomModel knows what was trained here."
        raise NotFoundError(f"modelIdentifier: {model.id} was not imported.", fix=fix)
    return model


def _told(model: Model) -> dict[str, Any]:
    config = model.folder / "config.json"
    # An adapter has the architecture of its base, and no such file.
    names = json.loads(config.read_text("utf-8")).get("architectures") if config.is_file() else None
    return {
        "modelArn": imported_arn(model),
        "modelName": model.name,
        "creationTime": model.created,
        "instructSupported": bool(model.template_sha256),
        **({"modelArchitecture": names[0]} if names else {}),
    }
