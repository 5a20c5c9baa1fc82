"""Provisioned throughput: decode slots that are kept for one model. The keeping itself is `api/lanes`.

A model unit is `SLOTS` answers at the same time, on an engine that nobody else uses.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from pumice.api.aws import targets
from pumice.api.aws.bedrock import tags
from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import arn, base_arn, custom_arn, find_entry, find_version, short_id
from pumice.api.aws.paging import page
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.background import Part
from pumice.api.platform import Platform
from pumice.errors import ConflictError, ExhaustedError
from pumice.records import Document

KIND = targets.PROVISIONED
"""Documents named by the ARN's last part, which is also the lane's id."""
SLOTS = 2
"""Decode slots of one model unit."""
_STATUS = {"opening": "Creating", "ready": "InService", "changing": "Updating", "failed": "Failed"}
_DAYS = {"OneMonth": 30, "SixMonths": 180}


@BEDROCK.operation
async def create_provisioned_model_throughput(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Keep capacity for a model: refused when the machine has no room for it."""
    platform, name, token = call.platform, request["provisionedModelName"], request.get("clientRequestToken")
    tags.check(request.get("tags"))

    def known() -> Document | None:
        found = platform.documents.list(KIND)
        if again := next((each for each in found if token and each.body["token"] == token), None):
            return again
        _check_name(found, name)
        return None

    if again := await asyncio.to_thread(known):
        return {"provisionedModelArn": again.body["arn"]}
    model, foundation = await asyncio.to_thread(_model, platform, request["modelId"], "modelId")
    id = short_id(f"{name} {token}")
    body = {
        "name": name,
        "arn": _arn(id),
        "modelArn": model,
        "desiredModelArn": model,
        "foundationModelArn": foundation,
        "units": request["modelUnits"],
        "commitment": request.get("commitmentDuration"),
        "token": token,
    }
    served = await asyncio.to_thread(targets.find, platform, model)
    try:
        await platform.lanes.open(id, served.id, request["modelUnits"] * SLOTS)
    except ExhaustedError as error:
        sentence = f"modelUnits {request['modelUnits']}: {' '.join(str(error).split())}"
        raise AwsError("ServiceQuotaExceededException", sentence) from error
    await asyncio.to_thread(platform.documents.add, KIND, id, body)
    await asyncio.to_thread(tags.put, platform, _arn(id), request.get("tags"))
    return {"provisionedModelArn": _arn(id)}


@BEDROCK.operation
def get_provisioned_model_throughput(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One, by ARN or name."""
    document = find(call.platform, request["provisionedModelId"])
    failure = call.platform.lanes.get(document.name).failure
    return {**_told(call.platform, document), **({"failureMessage": failure} if failure else {})}


@BEDROCK.operation
def list_provisioned_model_throughputs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """All that fit."""
    wanted = request.get("modelArnEquals")
    found = [each for each in call.platform.documents.list(KIND) if wanted in (None, each.body["modelArn"])]
    items = [_told(call.platform, each) for each in found]
    shown, following = page(items, request, name="provisionedModelName")
    return {"provisionedModelSummaries": shown, **following}


@BEDROCK.operation
async def update_provisioned_model_throughput(call: Call, request: dict[str, Any]) -> None:
    """Another name, or another model, which answers once its engine runs; until then the old one does."""
    platform = call.platform
    document = await asyncio.to_thread(find, platform, request["provisionedModelId"])
    if name := request.get("desiredProvisionedModelName"):
        if name != document.body["name"]:
            _check_name(await asyncio.to_thread(platform.documents.list, KIND), name)
        await asyncio.to_thread(platform.documents.put, KIND, document.name, {**document.body, "name": name})
    if not (identifier := request.get("desiredModelId")):
        return
    status = _STATUS[platform.lanes.get(document.name).state]
    if status != "InService":
        sentence = f"desiredModelId: the provisioned model is {status}; it can be changed when it is InService."
        raise AwsError("ValidationException", sentence)
    model, foundation = await asyncio.to_thread(_model, platform, identifier, "desiredModelId")
    if foundation != document.body["foundationModelArn"]:
        sentence = f"desiredModelId {identifier!r} is a model over {foundation}, the provisioned one is not."
        raise AwsError("ValidationException", f"{sentence} Create one for it.")
    await _switch(platform, document.name, model)


@BEDROCK.operation
async def delete_provisioned_model_throughput(call: Call, request: dict[str, Any]) -> None:
    """Give the capacity back. Refused within a commitment's term, as on AWS."""
    platform = call.platform
    document = await asyncio.to_thread(find, platform, request["provisionedModelId"])
    if (until := _until(document)) and until > datetime.now(UTC):
        sentence = f"{document.body['name']!r} is committed to until {until:%Y-%m-%d} and cannot be deleted before."
        raise ConflictError(sentence)
    await asyncio.to_thread(platform.documents.delete, KIND, document.name)
    await asyncio.to_thread(tags.forget, platform, document.body["arn"])
    await platform.lanes.close(document.name)


class Provisioned(Part):
    """Gives back what a crash left between a lane and its document."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def start(self) -> None:
        """Close the lanes that nobody could delete any more."""
        known = {each.name for each in await asyncio.to_thread(self._platform.documents.list, KIND)}
        for id in self._platform.lanes.ids():
            if id not in known:
                await self._platform.lanes.close(id)


def users_of(platform: Platform, model: str) -> list[str]:
    """ARNs of the provisioned capacity that a custom model, by ARN or name, has or is about to have. Blocks."""
    version = find_version(model, platform.registry)
    wanted = custom_arn(version) if version else model
    documents = platform.documents.list(KIND)
    return [each.body["arn"] for each in documents if wanted in (each.body["modelArn"], each.body["desiredModelArn"])]


def find(platform: Platform, identifier: str) -> Document:
    """One by ARN, name or id. Raises `AwsError`. Blocks."""
    for each in platform.documents.list(KIND):
        if identifier in (each.body["arn"], each.body["name"], each.name):
            return each
    raise AwsError("ResourceNotFoundException", f"There is no provisioned model {identifier!r}.", 404)


async def _switch(platform: Platform, id: str, model: str) -> None:
    """Have the lane go over to another model; the document says so once it has."""
    served = await asyncio.to_thread(targets.find, platform, model)

    def switched() -> None:
        platform.documents.change(KIND, id, modelArn=model)

    try:
        await platform.lanes.switch(id, served.id, switched)
    except ExhaustedError as error:
        # UpdateProvisionedModelThroughput knows no quota error.
        raise AwsError("ValidationException", f"desiredModelId: {' '.join(str(error).split())}") from error
    await asyncio.to_thread(lambda: platform.documents.change(KIND, id, desiredModelArn=model))


def _check_name(found: list[Document] | tuple[Document, ...], name: str) -> None:
    if any(each.body["name"] == name for each in found):
        raise AwsError("ValidationException", f"There is provisioned throughput named {name!r} already.")


def _model(platform: Platform, identifier: str, field: str) -> tuple[str, str]:
    """The ARNs of a model and of the foundation model under it. Blocks."""
    if version := find_version(identifier, platform.registry):
        return custom_arn(version), base_arn(version.base, platform.registry)
    if entry := find_entry(identifier):
        foundation = base_arn(entry.id, platform.registry)
        return foundation, foundation
    sentence = f"{field}: there is no model {identifier!r}."
    raise AwsError("ResourceNotFoundException", f"{sentence} ListFoundationModels and ListCustomModels name them.", 404)


def _told(platform: Platform, document: Document) -> dict[str, Any]:
    body, state = document.body, platform.lanes.get(document.name).state
    told = {
        "provisionedModelName": body["name"],
        "provisionedModelArn": body["arn"],
        "modelArn": body["modelArn"],
        "desiredModelArn": body["desiredModelArn" if state == "changing" else "modelArn"],
        "foundationModelArn": body["foundationModelArn"],
        "modelUnits": body["units"],
        "desiredModelUnits": body["units"],
        "status": _STATUS[state],
        "creationTime": document.created,
        "lastModifiedTime": document.updated,
    }
    if until := _until(document):
        told |= {"commitmentDuration": body["commitment"], "commitmentExpirationTime": until}
    return told


def _until(document: Document) -> datetime | None:
    """When the commitment ends, None without one."""
    term = document.body["commitment"]
    return document.created + timedelta(days=_DAYS[term]) if term else None


def _arn(id: str) -> str:
    return arn("bedrock", f"provisioned-model/{id}")
