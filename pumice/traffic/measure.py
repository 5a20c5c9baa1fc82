"""Numbers out of the request log: what was asked between two moments, row by row. Knows no names of metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, or_, select

from pumice.store.tables import requests

ROWS = 5_000
"""How many rows are in memory at once."""


class Measured(NamedTuple):
    """One request's numbers."""

    at: datetime
    status: int
    input_tokens: int
    output_tokens: int
    first_token_seconds: float | None
    seconds: float


def read(
    database: Engine, start: datetime, end: datetime, operations: Collection[str], models: Collection[str] | None = None
) -> Iterator[Measured]:
    """The requests from `start` to before `end` of these operations; `models` as callers named them or as answered."""
    log = requests.c
    wanted = select(*(log[name] for name in Measured._fields)).where(
        log.at >= start, log.at < end, log.operation.in_(operations)
    )
    if models is not None:
        wanted = wanted.where(or_(log.asked.in_(models), log.model.in_(models)))
    with database.connect() as connection:
        for row in connection.execution_options(yield_per=ROWS).execute(wanted):
            yield Measured(*row)


def names(database: Engine, operations: Collection[str], since: datetime | None = None) -> list[str]:
    """Every model that has answered, under each name that it was asked by."""
    log = requests.c
    wanted = select(log.asked, log.model).distinct().where(log.operation.in_(operations), log.model != "")
    if since is not None:
        wanted = wanted.where(log.at >= since)
    with database.connect() as connection:
        return sorted({name for row in connection.execute(wanted) for name in row})
