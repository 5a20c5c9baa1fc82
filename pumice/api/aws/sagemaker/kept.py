"""How SageMaker's things are kept, found and listed: a document each, named as the caller named it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import arn, resource
from pumice.api.platform import Platform
from pumice.errors import ConflictError
from pumice.records import Document

PAGE = 100
"""How many summaries a page has when the request does not say."""

Summary = Mapping[str, Any]


def kind_of(word: str) -> str:
    """The kind of document for a word of an ARN: `endpoint-config`."""
    return f"sagemaker-{word}"


TAGS = kind_of("tags")
"""Documents named by the ARN of what has the tags."""


def arn_of(word: str, name: str) -> str:
    """SageMaker's ARNs are in small letters."""
    return arn("sagemaker", f"{word}/{name.lower()}")


def add(platform: Platform, word: str, name: str, body: Mapping[str, Any], taken: str = "ValidationException") -> None:
    """Keep a new one. Raises `AwsError` with the code `taken` when there is one of this name."""
    try:
        platform.documents.add(kind_of(word), name, body)
    except ConflictError as error:
        raise AwsError(taken, f"There is a {spoken(word)} {name!r} already; choose another name.") from error


def find(platform: Platform, word: str, name: str) -> Document | None:
    """The thing with this name or ARN, None when there is none."""
    if not name.startswith("arn:"):
        return platform.documents.find(kind_of(word), name)
    kind, _, wanted = resource(name).partition("/")
    all_ = platform.documents.list(kind_of(word)) if kind == word else ()
    return next((each for each in all_ if each.name.lower() == wanted.lower()), None)


def get(platform: Platform, word: str, name: str, absent: str = "ValidationException") -> Document:
    """The thing with this name or ARN. Raises `AwsError` with the code `absent`, which SageMaker uses for this."""
    if found := find(platform, word, name):
        return found
    known = [each.name for each in platform.documents.list(kind_of(word))]
    there = f" There is {', '.join(known[:5])}." if known else ""
    raise AwsError(absent, f"Could not find {spoken(word)} {name!r}.{there}")


def delete(platform: Platform, word: str, name: str) -> None:
    """Forget it, and its tags. Raises as `get` does."""
    found = get(platform, word, name)
    platform.documents.delete(found.kind, found.name)
    if platform.documents.find(TAGS, arn_of(word, found.name)):
        platform.documents.delete(TAGS, arn_of(word, found.name))


def page(
    platform: Platform,
    word: str,
    request: Mapping[str, Any],
    summary: Callable[[Document], Summary | None],
    status: str = "",
    order: str = "Descending",
) -> tuple[list[Summary], dict[str, str]]:
    """One page of summaries, and the token for the next: filtered first, so that every page but the last is full.

    What has no summary is left out. `status` is what summaries call their status, `order` what the operation's model
    says of a request without one.
    A token says behind which place to go on, so what is made or deleted between two pages moves nothing.
    """
    placed = []
    for document in platform.documents.list(kind_of(word)):
        told = summary(document) if _fits(document, request) else None
        if told is not None and _matches(told, request, status):
            keys = {"Name": document.name, "Status": told.get(status)}
            key = keys.get(request.get("SortBy", ""), document.created.timestamp())
            placed.append(((key, document.name), told))
    falling = request.get("SortOrder", order) == "Descending"
    placed.sort(key=lambda pair: pair[0], reverse=falling)
    if token := request.get("NextToken"):
        last = _read(token)
        placed = [(place, told) for place, told in placed if (place < last if falling else place > last)]
    most = request.get("MaxResults", PAGE)
    following = {"NextToken": _write(placed[most - 1][0])} if len(placed) > most else {}
    return [told for _, told in placed[:most]], following


def spoken(word: str) -> str:
    """A word of an ARN as people say it: `endpoint config`."""
    return word.replace("-", " ")


def _fits(document: Document, request: Mapping[str, Any]) -> bool:
    return (
        request.get("NameContains", "").lower() in document.name.lower()
        and ("CreationTimeAfter" not in request or document.created > request["CreationTimeAfter"])
        and ("CreationTimeBefore" not in request or document.created < request["CreationTimeBefore"])
    )


def _matches(told: Summary, request: Mapping[str, Any], status: str) -> bool:
    changed = told.get("LastModifiedTime")
    return (
        request.get("StatusEquals") in (None, told.get(status))
        and ("LastModifiedTimeAfter" not in request or changed > request["LastModifiedTimeAfter"])
        and ("LastModifiedTimeBefore" not in request or changed < request["LastModifiedTimeBefore"])
    )


def _write(place: tuple[float | str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _read(token: str) -> tuple[Any, str]:
    try:
        key, name = json.loads(base64.urlsafe_b64decode(token))
        return key, str(name)
    except (ValueError, TypeError) as error:
        raise AwsError("ValidationException", f"NextToken {token[:40]!r} was not given by this operation.") from error
