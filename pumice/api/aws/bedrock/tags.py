"""Tags of everything on the Bedrock wire that has an ARN. Knows nothing of what they are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import ACCOUNT, REGION
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.platform import Platform

KIND = "tags"
MOST = 50
"""Tags that one thing may have, as AWS has it."""
_OURS = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:"


def put(platform: Platform, arn: str, tags: Sequence[Mapping[str, str]] | None) -> None:
    """Keep the tags that came with the request that made `arn`: a list of `{"key", "value"}`, or None. Blocks."""
    if tags:
        platform.documents.put(KIND, arn, _checked({each["key"]: each["value"] for each in tags}))


def check(tags: Sequence[Mapping[str, str]] | None) -> None:
    """Raise `AwsError` for tags that `put` would refuse; call it before anything is made."""
    _checked({each["key"]: each["value"] for each in tags or ()})


def forget(platform: Platform, arn: str) -> None:
    """Drop the tags of what is deleted. Blocks."""
    if platform.documents.find(KIND, arn):
        platform.documents.delete(KIND, arn)


@BEDROCK.operation
def tag_resource(call: Call, request: dict[str, Any]) -> None:
    """Add tags, or change them."""
    arn = _known(request["resourceARN"])
    added = {each["key"]: each["value"] for each in request["tags"]}
    call.platform.documents.put(KIND, arn, _checked(_read(call.platform, arn) | added))


@BEDROCK.operation
def untag_resource(call: Call, request: dict[str, Any]) -> None:
    """Take tags away; a key that is not there does not matter."""
    arn = _known(request["resourceARN"])
    left = {key: value for key, value in _read(call.platform, arn).items() if key not in request["tagKeys"]}
    call.platform.documents.put(KIND, arn, left)


@BEDROCK.operation
def list_tags_for_resource(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The tags of one ARN, by key."""
    found = _read(call.platform, _known(request["resourceARN"]))
    return {"tags": [{"key": key, "value": value} for key, value in sorted(found.items())]}


def _read(platform: Platform, arn: str) -> dict[str, str]:
    found = platform.documents.find(KIND, arn)
    return dict(found.body) if found else {}


def _known(arn: str) -> str:
    if not arn.startswith(_OURS) or "/" not in arn:
        sentence = f"resourceARN {arn!r} is nothing that can be tagged here; such an ARN begins with {_OURS}."
        raise AwsError("ResourceNotFoundException", sentence, 404)
    return arn


def _checked(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > MOST:
        raise AwsError("TooManyTagsException", f"{len(tags)} tags; one resource may have {MOST}.")
    return tags
