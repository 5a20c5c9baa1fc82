"""Lists that come in pages: `limit`, `after`, and whether there is more. Knows nothing of what is listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, Protocol, TypeVar

from fastapi import Query
from pydantic import BaseModel

from pumice.api.openai.refusals import Refusal

Limit = Annotated[int, Query(ge=1, le=100)]


class Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=BaseModel)
I = TypeVar("I", bound=Identified)  # noqa: E741


class Listed(BaseModel, Generic[T]):
    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def cut(items: Sequence[I], after: str | None, limit: int) -> tuple[Sequence[I], bool]:
    """The `limit` items behind the one with id `after`, and whether more follow. Raises `Refusal` for an unknown id."""
    ids = [item.id for item in items]
    if after is not None and after not in ids:
        raise Refusal(400, f"Invalid 'after': {after!r} is not in this list.", param="after", code="invalid_value")
    start = ids.index(after) + 1 if after is not None else 0
    return items[start : start + limit], len(items) > start + limit


def listed(shown: list[T], more: bool) -> Listed[T]:
    """A page as the wire has it."""
    ids = [str(dict(each)["id"]) for each in shown]
    return Listed(data=shown, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None, has_more=more)
