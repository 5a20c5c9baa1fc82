"""Tags on SageMaker's things, given when they are made or later."""

from __future__ import annotations

from typing import Any

from pumice.api.aws.names import resource
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.services import SAGEMAKER
from pumice.api.aws.wire import Call


@SAGEMAKER.operation
def add_tags(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Set tags; those with the same key are replaced."""
    arn, tags = _tags(call, request["ResourceArn"])
    tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    call.platform.documents.put(kept.TAGS, arn, tags)
    return {"Tags": _shown(tags)}


@SAGEMAKER.operation
def delete_tags(call: Call, request: dict[str, Any]) -> None:
    """Take tags away by their keys."""
    arn, tags = _tags(call, request["ResourceArn"])
    left = {key: value for key, value in tags.items() if key not in request["TagKeys"]}
    call.platform.documents.put(kept.TAGS, arn, left)


@SAGEMAKER.operation
def list_tags(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The tags of one thing."""
    return {"Tags": _shown(_tags(call, request["ResourceArn"])[1])}


def _tags(call: Call, arn: str) -> tuple[str, dict[str, str]]:
    """The ARN as it is kept, and the tags: those that were set; until then those that the thing was made with."""
    word = resource(arn).partition("/")[0]
    found = kept.get(call.platform, word, arn)
    arn = kept.arn_of(word, found.name)
    if tagged := call.platform.documents.find(kept.TAGS, arn):
        return arn, dict(tagged.body)
    return arn, {tag["Key"]: tag["Value"] for tag in found.body["request"].get("Tags", [])}


def _shown(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
