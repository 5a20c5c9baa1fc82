"""The loss of rows that are not trained on, told while training: which rows, and at which steps.

Changes nothing of the training: the weights end up the same without it. Knows no method.
"""

from __future__ import annotations

import math

import numpy as np

from pumice.data.token_rows import Rows

MOST_ROWS = 32
MOST_TIMES = 20
SHARE = 0.05
"""Of the training's time that is spent on it, about; but each epoch is worth one look."""
# Of a training step, the way forward is a third.
FORWARD = 1 / 3


def chosen(rows: Rows, trained: Rows) -> Rows:
    """The first rows, as many as are read in `SHARE` of an epoch of `trained`: [at most `MOST_ROWS`], maybe none."""
    room = SHARE / FORWARD * int(trained.sizes.sum())
    few = rows[:MOST_ROWS]
    fitting = int(np.searchsorted(np.cumsum(few.sizes), room, side="right"))
    return few[:fitting]


def steps_of(steps: int, epochs: float, rows: Rows, trained: Rows) -> frozenset[int]:
    """The steps after which the rows are read: evenly spread, with the last of all."""
    if not rows or not steps:
        return frozenset()
    affordable = SHARE / FORWARD * epochs * int(trained.sizes.sum()) / int(rows.sizes.sum())
    times = min(steps, max(math.ceil(epochs), min(MOST_TIMES, int(affordable))))
    return frozenset(round(steps * number / times) for number in range(1, times + 1))
