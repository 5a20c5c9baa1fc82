"""The request log as curves: how many, how fast, how many tokens, by stretches of time. Knows no names of metrics."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import Engine, or_, select

from pumice.store.tables import requests

ROWS = 5_000
"""How many rows are in memory at once."""


@dataclass(frozen=True)
class Point:
    """One stretch of time."""

    at: datetime
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    seconds: tuple[float, float]
    """Median and 95th percentile of how long an answer took; zeros where there was none."""
    first_token_seconds: tuple[float, float]


@dataclass
class _Heap:
    errors: int = 0
    input: int = 0
    output: int = 0
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)


def curve(database: Engine, start: datetime, end: datetime, step: timedelta, model: str | None = None) -> list[Point]:
    """The requests from `start` to before `end` in stretches of `step`, empty ones too."""
    log = requests.c
    wanted = select(
        log.at, log.status, log.input_tokens, log.output_tokens, log.seconds, log.first_token_seconds
    ).where(log.at >= start, log.at < end)
    if model is not None:
        wanted = wanted.where(or_(log.asked == model, log.model == model))
    heaps: dict[int, _Heap] = defaultdict(_Heap)
    with database.connect() as connection:
        for at, status, read, written, seconds, first in connection.execution_options(yield_per=ROWS).execute(wanted):
            heap = heaps[(at - start) // step]
            heap.errors += status >= 400
            heap.input, heap.output = heap.input + read, heap.output + written
            heap.seconds.append(seconds)
            if first is not None:
                heap.first.append(first)
    return [_point(start + place * step, heaps[place]) for place in range(-(-(end - start) // step))]


class Failed(NamedTuple):
    """A request that was not answered."""

    id: str
    at: datetime
    operation: str
    asked: str
    status: int


def failed(database: Engine, most: int) -> list[Failed]:
    """The newest requests that were refused or failed."""
    log = requests.c
    wanted = select(*(log[name] for name in Failed._fields)).where(log.status >= 400)
    with database.connect() as connection:
        return [Failed(*row) for row in connection.execute(wanted.order_by(log.at.desc(), log.id.desc()).limit(most))]


def _point(at: datetime, heap: _Heap) -> Point:
    return Point(
        at, len(heap.seconds), heap.errors, heap.input, heap.output, _spread(heap.seconds), _spread(heap.first)
    )


def _spread(values: list[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    middle, high = np.percentile(values, (50, 95))
    return float(middle), float(high)
