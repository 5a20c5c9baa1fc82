"""Tags on SageMaker's things, given when they are made or later."""

from __future__ import annotations

from typing import Any

from pumice.api.aws.sagemaker import kept
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call
from pumice.records import Document

KIND = kept.kind_of("tags")


@SAGEMAKER.operation
def add_tags(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Set tags; those with the same key are replaced."""
    tags = _tags(call, request["ResourceArn"]) | {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    _keep(call, request["ResourceArn"], tags)
    return {"Tags": _shown(tags)}


@SAGEMAKER.operation
def delete_tags(call: Call, request: dict[str, Any]) -> None:
    """Take tags away by their keys."""
    tags = _tags(call, request["ResourceArn"])
    _keep(call, request["ResourceArn"], {key: tags[key] for key in tags if key not in request["TagKeys"]})


@SAGEMAKER.operation
def list_tags(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The tags of one thing."""
    return {"Tags": _shown(_tags(call, request["ResourceArn"]))}


def _tags(call: Call, arn: str) -> dict[str, str]:
    """Those that were set; until then those that it was made with."""
    if found := call.platform.documents.find(KIND, arn):
        return dict(found.body)
    word, _, name = arn.rsplit(":", 1)[-1].partition("/")
    made = [each for each in call.platform.documents.list(kept.kind_of(word)) if each.name.lower() == name]
    return {tag["Key"]: tag["Value"] for tag in _given(made[0])} if made else {}


def _given(document: Document) -> list[dict[str, str]]:
    return list(document.body.get("request", {}).get("Tags", []))


def _keep(call: Call, arn: str, tags: dict[str, str]) -> None:
    if call.platform.documents.find(KIND, arn):
        call.platform.documents.delete(KIND, arn)
    call.platform.documents.add(KIND, arn, tags)


def _shown(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
