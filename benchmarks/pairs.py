"""Measurements in turns: what else the machine does falls on all sides alike. A claim is a ratio with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 4_000
ROUNDS = 20
"""Rounds that a claim needs."""
SURE = (2.5, 97.5)
"""Percentiles of the draws between which the figure lies."""


@dataclass(frozen=True)
class Figure:
    """A median or a ratio of medians, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{written(self.value)} [{written(self.low)}, {written(self.high)}]"


def written(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 1,230."""
    if not value:
        return "0"
    digits = 2 - int(np.floor(np.log10(abs(value))))
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def in_turns(sides: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """What each side measured in each round, by side and by name; every second round goes the other way round."""
    found: dict[str, dict[str, list[float]]] = {side: {} for side in sides}
    for at in range(rounds):
        for side in list(sides)[:: -1 if at % 2 else 1]:
            for name, value in sides[side]().items():
                found[side].setdefault(name, []).append(value)
    return found


def median(values: Sequence[float]) -> Figure:
    """The median, and where it lies when the rounds are drawn again."""
    drawn = _drawn(len(values))
    return _figure(np.median(values), np.median(np.asarray(values)[drawn], axis=1))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Median over median of rounds that belong together: a round is drawn whole, ours with theirs.

    Raises `ValueError` when there are not as many of one as of the other.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds of one side and {len(theirs)} of the other are no pairs.")
    drawn = _drawn(len(ours))
    above, below = (np.median(np.asarray(side)[drawn], axis=1) for side in (ours, theirs))
    return _figure(np.median(ours) / np.median(theirs), above / below)


def _drawn(rounds: int) -> np.ndarray:
    """Places of rounds, as many as there are, drawn with repetition: one line a draw, the same for the same count."""
    if not rounds:
        raise ValueError("Nothing was measured.")
    return np.random.default_rng(0).integers(0, rounds, (DRAWS, rounds))


def _figure(value: np.floating, drawn: np.ndarray) -> Figure:
    low, high = np.percentile(drawn, SURE)
    return Figure(float(value), float(low), float(high))
