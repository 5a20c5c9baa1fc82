"""Guardrails: what must not be said, in versions. Keeps and checks the policies; applying them is the runtime's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from pumice.agents.guardrails import PERSONAL, regex
from pumice.api.aws.bedrock import tags
from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import arn, tail
from pumice.api.aws.paging import page
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform
from pumice.errors import ConflictError
from pumice.records import Document

KIND = "bedrock-guardrail"
"""Documents named `ID:DRAFT`, `ID:1`, …; the body is the request with `id` and `version`."""
DRAFT = "DRAFT"
_NOT_SERVED = {
    "topicPolicyConfig": "denied topics",
    "contentPolicyConfig": "content filters",
    "contextualGroundingPolicyConfig": "grounding checks",
    "automatedReasoningPolicyConfig": "automated reasoning",
}
_NOT_KEPT = ("tags", "clientRequestToken", "guardrailIdentifier")
# How the parts of a policy are called in requests and in answers.
_WORDS = {"wordsConfig": "words", "managedWordListsConfig": "managedWordLists"}
_SENSITIVE = {"piiEntitiesConfig": "piiEntities", "regexesConfig": "regexes"}


@BEDROCK.operation
def create_guardrail(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A new guardrail, as a draft that answers at once."""
    _check(request)
    tags.check(request.get("tags"))
    platform = call.platform
    if any(each.body["name"] == request["name"] for each in _drafts(platform)):
        raise ConflictError(f"There is a guardrail named {request['name']!r} already.", fix="Choose another name.")
    guardrail = secrets.token_hex(6)
    kept = platform.documents.add(KIND, f"{guardrail}:{DRAFT}", _body(request, guardrail, DRAFT) | {"versions": 0})
    tags.put(platform, _arn(guardrail), request.get("tags"))
    return {**_address(guardrail), "version": DRAFT, "createdAt": kept.created}


@BEDROCK.operation
def get_guardrail(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One version, by default the draft."""
    found = find(call.platform, request["guardrailIdentifier"], request.get("guardrailVersion", DRAFT))
    body = found.body
    told = {key: body[key] for key in ("blockedInputMessaging", "blockedOutputsMessaging")}
    if "kmsKeyId" in body:
        told["kmsKeyArn"] = body["kmsKeyId"]
    for asked, answered, parts in (
        ("wordPolicyConfig", "wordPolicy", _WORDS),
        ("sensitiveInformationPolicyConfig", "sensitiveInformationPolicy", _SENSITIVE),
    ):
        if asked in body:
            told[answered] = {parts[key]: value for key, value in body[asked].items()}
    return {**_summary(found), **_address(body["id"]), **told}


@BEDROCK.operation
def list_guardrails(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The drafts of all guardrails, or all versions of one."""
    if "guardrailIdentifier" in request:
        found = _versions(call.platform, find(call.platform, request["guardrailIdentifier"], DRAFT).body["id"])
    else:
        found = _drafts(call.platform)
    items = [{**_summary(each), "id": each.body["id"], "arn": _arn(each.body["id"])} for each in found]
    shown, following = page(items, request, name="version", at="createdAt")
    return {"guardrails": shown, **following}


@BEDROCK.operation
def update_guardrail(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Replace the draft; versions stay as they are."""
    _check(request)
    draft = find(call.platform, request["guardrailIdentifier"], DRAFT)
    guardrail = draft.body["id"]
    if any(each.body["name"] == request["name"] and each.body["id"] != guardrail for each in _drafts(call.platform)):
        raise ConflictError(f"There is a guardrail named {request['name']!r} already.", fix="Choose another name.")
    body = _body(request, guardrail, DRAFT) | {"versions": draft.body["versions"]}
    kept = call.platform.documents.put(KIND, draft.name, body)
    return {**_address(guardrail), "version": DRAFT, "updatedAt": kept.updated}


@BEDROCK.operation
def delete_guardrail(call: Call, request: dict[str, Any]) -> None:
    """One version, or without a version all of it."""
    documents = call.platform.documents
    draft = find(call.platform, request["guardrailIdentifier"], DRAFT)
    if version := request.get("guardrailVersion"):
        if version == DRAFT:
            sentence = "guardrailVersion DRAFT cannot be deleted alone; without guardrailVersion all of it is deleted."
            raise AwsError("ValidationException", sentence)
        documents.delete(KIND, find(call.platform, draft.body["id"], version).name)
        return
    for each in _versions(call.platform, draft.body["id"]):
        documents.delete(KIND, each.name)
    tags.forget(call.platform, _arn(draft.body["id"]))


@BEDROCK.operation
def create_guardrail_version(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Keep the draft as it is now under the next number."""
    documents = call.platform.documents
    draft = find(call.platform, request["guardrailIdentifier"], DRAFT)
    guardrail = draft.body["id"]
    numbers = [int(each.body["version"]) for each in _versions(call.platform, guardrail) if each.name != draft.name]
    number = max(draft.body["versions"], *numbers, 0) + 1
    body = {key: value for key, value in draft.body.items() if key != "versions"} | {"version": str(number)}
    if "description" in request:
        body["description"] = request["description"]
    documents.add(KIND, f"{guardrail}:{number}", body)
    # Counted for good: the number of a deleted version does not come again.
    documents.change(KIND, draft.name, versions=number)
    return {"guardrailId": guardrail, "version": str(number)}


def find(platform: Platform, identifier: str, version: str) -> Document:
    """One version of a guardrail, by id or ARN. Raises `AwsError` when there is none. Blocks."""
    found = platform.documents.find(KIND, f"{tail(identifier)}:{version}")
    if found is None:
        sentence = f"There is no guardrail {identifier!r} with the version {version}."
        raise AwsError("ResourceNotFoundException", sentence, 404)
    return found


def _drafts(platform: Platform) -> list[Document]:
    return [each for each in platform.documents.list(KIND) if each.body["version"] == DRAFT]


def _versions(platform: Platform, guardrail: str) -> list[Document]:
    return [each for each in platform.documents.list(KIND) if each.body["id"] == guardrail]


def _check(request: Mapping[str, Any]) -> None:
    """Refuse what could only be pretended: such a guardrail would let through what it promises to stop."""
    for policy, words in _NOT_SERVED.items():
        if policy in request:
            sentence = f"{policy}: {words} need a judge model and are not served by Pumice."
            raise AwsError("ValidationException", f"{sentence} Word, regex and PII policies are.")
    if not {"wordPolicyConfig", "sensitiveInformationPolicyConfig"} & request.keys():
        sentence = "A guardrail needs a policy: wordPolicyConfig or sensitiveInformationPolicyConfig."
        raise AwsError("ValidationException", sentence)
    sensitive = request.get("sensitiveInformationPolicyConfig", {})
    if unknown := [each["type"] for each in sensitive.get("piiEntitiesConfig", ()) if each["type"] not in PERSONAL]:
        sentence = f"piiEntitiesConfig: {', '.join(unknown)} can be told by its meaning only, and is not served."
        raise AwsError("ValidationException", f"{sentence} These have a form: {', '.join(sorted(PERSONAL))}.")
    for entry in sensitive.get("regexesConfig", ()):
        try:
            regex(entry["name"], entry["pattern"], "block")
        except re.error as error:
            sentence = (
                f"regexesConfig {entry['name']!r}: the pattern {entry['pattern']!r} is none of RE2's syntax ({error})."
            )
            raise AwsError("ValidationException", sentence) from error


def _body(request: Mapping[str, Any], guardrail: str, version: str) -> dict[str, Any]:
    kept = {key: value for key, value in request.items() if key not in _NOT_KEPT}
    return {**kept, "id": guardrail, "version": version}


def _summary(document: Document) -> dict[str, Any]:
    body = document.body
    described = {"description": body["description"]} if "description" in body else {}
    told = {"name": body["name"], "version": body["version"], "status": "READY", **described}
    return {**told, "createdAt": document.created, "updatedAt": document.updated}


def _address(guardrail: str) -> dict[str, str]:
    return {"guardrailId": guardrail, "guardrailArn": _arn(guardrail)}


def _arn(guardrail: str) -> str:
    return arn("bedrock", f"guardrail/{guardrail}")
