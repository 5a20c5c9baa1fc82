"""Measurements in turns: what else the machine does falls on all sides alike. A claim is a ratio with its interval."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DRAWS = 2_000


@dataclass(frozen=True)
class Figure:
    """A median or a ratio of medians, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


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
    return _interval(len(values), lambda chosen: statistics.median(values[at] for at in chosen))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Median over median of rounds that belong together: a round is drawn whole, ours with theirs."""

    def of(chosen: Sequence[int]) -> float:
        return statistics.median(ours[at] for at in chosen) / statistics.median(theirs[at] for at in chosen)

    assert len(ours) == len(theirs)
    return _interval(len(ours), of)


def _interval(rounds: int, of: Callable[[Sequence[int]], float]) -> Figure:
    dice = random.Random(0)
    drawn = sorted(of([dice.randrange(rounds) for _ in range(rounds)]) for _ in range(DRAWS))
    return Figure(of(range(rounds)), drawn[round(DRAWS * 0.025)], drawn[round(DRAWS * 0.975) - 1])
