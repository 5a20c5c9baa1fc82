"""Custom model deployments: on demand, a name under which a custom model answers. Knows no engine's inside.

A deployment is Creating until the model has been loaded once, so that Active is true when it is said.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pumice.api.aws import targets
from pumice.api.aws.bedrock import tags
from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import arn, custom_arn, find_version, short_id
from pumice.api.aws.paging import page
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.background import Part, Tasks
from pumice.api.platform import Platform
from pumice.errors import ConflictError, PumiceError
from pumice.records import Document

KIND = targets.DEPLOYMENT
"""Documents named by the ARN's last part."""


@BEDROCK.operation
async def create_custom_model_deployment(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A new one, which is Creating."""

    def keep() -> tuple[Document, bool]:
        platform, name = call.platform, request["modelDeploymentName"]
        tags.check(request.get("tags"))
        model = model_arn(platform, request["modelArn"])
        token = request.get("clientRequestToken")
        for each in platform.documents.list(KIND):
            if token and each.body["token"] == token:
                return each, False
            if each.body["name"] == name:
                raise ConflictError(f"modelDeploymentName: there is a deployment {name!r} already.")
        id = short_id(f"{name} {token}")
        body = {"name": name, "arn": _arn(id), "modelArn": model, "token": token, "status": "Creating", "failure": ""}
        document = platform.documents.add(KIND, id, body | {"description": request.get("description")})
        tags.put(platform, _arn(id), request.get("tags"))
        return document, True

    document, new = await asyncio.to_thread(keep)
    if new:
        call.platform.part(Deployments).load(document.name, document.body["modelArn"], update=False)
    return {"customModelDeploymentArn": document.body["arn"]}


@BEDROCK.operation
def get_custom_model_deployment(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One, by ARN or name."""
    document = _find(call.platform, request["customModelDeploymentIdentifier"])
    body, told = document.body, _told(document)
    if body["description"]:
        told["description"] = body["description"]
    if "update" in body:
        told["updateDetails"] = {"modelArn": body["update"]["modelArn"], "updateStatus": body["update"]["status"]}
    return {**told, "modelDeploymentName": body["name"]}


@BEDROCK.operation
def list_custom_model_deployments(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """All that fit."""
    wanted = request.get("modelArnEquals")
    found = [each for each in call.platform.documents.list(KIND) if wanted in (None, each.body["modelArn"])]
    items = [{**_told(each), "customModelDeploymentName": each.body["name"]} for each in found]
    shown, following = page(items, request, name="customModelDeploymentName", at="createdAt")
    return {"modelDeploymentSummaries": shown, **following}


@BEDROCK.operation
async def update_custom_model_deployment(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Have another model answer, once it is loaded; until then the old one does."""

    def keep() -> Document:
        platform = call.platform
        document = _find(platform, request["customModelDeploymentIdentifier"])
        wanted = model_arn(platform, request["modelArn"])
        if platform.part(Deployments).busy(document.name):
            raise AwsError("ValidationException", f"The deployment {document.body['name']!r} is being changed already.")
        return platform.documents.change(KIND, document.name, update={"modelArn": wanted, "status": "Updating"})

    document = await asyncio.to_thread(keep)
    call.platform.part(Deployments).load(document.name, document.body["update"]["modelArn"], update=True)
    return {"customModelDeploymentArn": document.body["arn"]}


@BEDROCK.operation
async def delete_custom_model_deployment(call: Call, request: dict[str, Any]) -> None:
    """Its ARN answers no more; the model stays."""
    document = await asyncio.to_thread(_find, call.platform, request["customModelDeploymentIdentifier"])
    await call.platform.part(Deployments).forget(document.name)
    await asyncio.to_thread(call.platform.documents.delete, KIND, document.name)
    await asyncio.to_thread(tags.forget, call.platform, document.body["arn"])


class Deployments(Part):
    """Loads the models of new and changed deployments."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._tasks = platform, Tasks()

    async def start(self) -> None:
        """Go on with what a stop or a crash left."""
        for document in await asyncio.to_thread(self._platform.documents.list, KIND):
            if document.body["status"] == "Creating":
                self.load(document.name, document.body["modelArn"], update=False)
            elif document.body.get("update", {}).get("status") == "Updating":
                self.load(document.name, document.body["update"]["modelArn"], update=True)

    async def stop(self) -> None:
        """Leave everything as it is; the next start goes on there."""
        await self._tasks.stop()

    def busy(self, id: str) -> bool:
        """Whether a model is being loaded for this deployment."""
        return self._tasks.runs(id)

    def load(self, id: str, model: str, update: bool) -> None:
        """Have the model `model` loaded for this deployment, and then answer."""
        self._tasks.start(id, self._load(id, model, update))

    async def forget(self, id: str) -> None:
        """Stop loading for it."""
        await self._tasks.cancel(id)

    async def _load(self, id: str, model: str, update: bool) -> None:
        failure = ""
        try:
            served = await asyncio.to_thread(targets.find, self._platform, model)
            await served.ready(self._platform.pool)
        except (PumiceError, AwsError) as error:
            failure = " ".join(str(error).split())
        changes: dict[str, Any] = {"status": "Failed" if failure else "Active", "failure": failure}
        if update:
            told = {"modelArn": model, "status": "UpdateFailed" if failure else "UpdateCompleted"}
            changes = {"update": told, **({"failure": failure} if failure else {"modelArn": model, "failure": ""})}
        await asyncio.to_thread(lambda: self._platform.documents.change(KIND, id, **changes))


def users_of(platform: Platform, model: str) -> list[str]:
    """ARNs of the deployments that a custom model, by ARN or name, answers. Blocks."""
    version = find_version(model, platform.registry)
    wanted = custom_arn(version) if version else model
    return [each.body["arn"] for each in platform.documents.list(KIND) if each.body["modelArn"] == wanted]


def model_arn(platform: Platform, identifier: str) -> str:
    """The ARN of a custom model that exists. Raises `AwsError`."""
    if version := find_version(identifier, platform.registry):
        return custom_arn(version)
    sentence = f"modelArn: there is no custom model {identifier!r}. ListCustomModels names what there is."
    raise AwsError("ResourceNotFoundException", sentence, 404)


def _find(platform: Platform, identifier: str) -> Document:
    for each in platform.documents.list(KIND):
        if identifier in (each.body["arn"], each.body["name"], each.name):
            return each
    raise AwsError("ResourceNotFoundException", f"There is no custom model deployment {identifier!r}.", 404)


def _told(document: Document) -> dict[str, Any]:
    body = document.body
    told = {
        "customModelDeploymentArn": body["arn"],
        "modelArn": body["modelArn"],
        "createdAt": document.created,
        "lastUpdatedAt": document.updated,
        "status": body["status"],
    }
    return {**told, "failureMessage": body["failure"]} if body["failure"] else told


def _arn(id: str) -> str:
    return arn("bedrock", f"custom-model-deployment/{id}")
