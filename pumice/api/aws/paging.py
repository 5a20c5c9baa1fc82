"""Pages of what a list operation found: filtered, in the order of creation, cut. Knows no operation."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pumice.api.aws.errors import AwsError

PAGE = 100
"""How many items a page has when the request does not say."""

# What the operations call their limits of time.
_AFTER = ("creationTimeAfter", "createdAfter", "submitTimeAfter")
_BEFORE = ("creationTimeBefore", "createdBefore", "submitTimeBefore")

Item = Mapping[str, Any]


def page(
    items: Iterable[Item], request: Mapping[str, Any], name: str, at: str = "creationTime", status: str = "status"
) -> tuple[list[Item], dict[str, str]]:
    """One page of `items`, and `{"nextToken": …}` for the next, `{}` when it is the last.

    `items` are summaries as the operation gives them; `name`, `at` and `status` say what they call their name, their
    time of creation and their status. A token says behind which item to go on, so what is made or deleted between two
    pages moves nothing. Raises `AwsError` for a token that is none.
    """
    descending = request.get("sortOrder", "Descending") == "Descending"
    keyed = [
        ((item[at].timestamp(), str(item[name])), item) for item in items if _fits(item, request, name, at, status)
    ]
    keyed.sort(key=lambda pair: pair[0], reverse=descending)
    if token := request.get("nextToken"):
        last = _read(token)
        keyed = [(key, item) for key, item in keyed if (key < last if descending else key > last)]
    most = request.get("maxResults", PAGE)
    following = {"nextToken": _write(keyed[most - 1][0])} if len(keyed) > most else {}
    return [item for _, item in keyed[:most]], following


def _fits(item: Item, request: Mapping[str, Any], name: str, at: str, status: str) -> bool:
    made: datetime = item[at]
    return (
        str(request.get("nameContains", "")).lower() in str(item[name]).lower()
        and request.get("statusEquals") in (None, item.get(status))
        and all(made > request[key] for key in _AFTER if key in request)
        and all(made < request[key] for key in _BEFORE if key in request)
    )


def _write(key: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _read(token: str) -> tuple[float, str]:
    try:
        at, name = json.loads(base64.urlsafe_b64decode(token))
        return float(at), str(name)
    except (ValueError, TypeError) as error:
        raise AwsError("ValidationException", f"nextToken {token[:40]!r} was not given by this operation.") from error
