"""How SageMaker's things are kept, found and listed: a document each, named as the caller named it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import arn
from pumice.api.platform import Platform
from pumice.errors import NotFoundError
from pumice.records import Document

PAGE = 100


def kind_of(word: str) -> str:
    """The kind of document for a word of an ARN: `endpoint-config`."""
    return f"sagemaker-{word}"


def arn_of(word: str, name: str) -> str:
    """SageMaker's ARNs are in small letters."""
    return arn("sagemaker", f"{word}/{name.lower()}")


def get(platform: Platform, word: str, name: str) -> Document:
    """The thing with this name, or the last part of this ARN. SageMaker says ValidationException for one it lacks."""
    name = name.rsplit("/", 1)[-1] if name.startswith("arn:") else name
    found = platform.documents.find(kind_of(word), name)
    if found is None:
        known = [each.name for each in platform.documents.list(kind_of(word))]
        there = f" There is {', '.join(known[:5])}." if known else ""
        raise AwsError("ValidationException", f"Could not find {word} {name!r}.{there}")
    return found


def delete(platform: Platform, word: str, name: str) -> None:
    """Forget it. Raises as `get` does."""
    try:
        platform.documents.delete(kind_of(word), get(platform, word, name).name)
    except NotFoundError as error:
        raise AwsError("ValidationException", f"Could not find {word} {name!r}.") from error


def page(
    platform: Platform, word: str, request: Mapping[str, Any], summary: Callable[[Document], Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """One page of summaries by creation, and the token for the next; filters by name, status and time of creation."""
    documents = [each for each in platform.documents.list(kind_of(word)) if _fits(each, request)]
    # Newest first, unless asked otherwise; the name decides between two of the same moment.
    documents.sort(key=_place, reverse=request.get("SortOrder", "Descending") == "Descending")
    if token := request.get("NextToken"):
        last = _read(token)
        names = [each.name for each in documents]
        documents = documents[names.index(last) + 1 :] if last in names else []
    most = request.get("MaxResults", PAGE)
    following = {"NextToken": _write(documents[most - 1].name)} if len(documents) > most else {}
    wanted = request.get("StatusEquals")
    found = [summary(each) for each in documents[:most]]
    return [each for each in found if wanted is None or wanted in each.values()], following


def _place(document: Document) -> tuple[float, str]:
    return document.created.timestamp(), document.name


def _fits(document: Document, request: Mapping[str, Any]) -> bool:
    return (
        request.get("NameContains", "").lower() in document.name.lower()
        and ("CreationTimeAfter" not in request or document.created > request["CreationTimeAfter"])
        and ("CreationTimeBefore" not in request or document.created < request["CreationTimeBefore"])
    )


def _write(name: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(name).encode()).decode()


def _read(token: str) -> str:
    try:
        return str(json.loads(base64.urlsafe_b64decode(token)))
    except ValueError as error:
        raise AwsError("ValidationException", f"NextToken {token[:40]!r} was not given by this operation.") from error
