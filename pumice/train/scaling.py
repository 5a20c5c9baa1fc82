"""From short runs to what a long one would reach: loss against tokens, with what it would take. Knows no model.

Three points are few: they fix a law of three numbers with nothing left over to judge it by. So the forecast comes with
a range, from what pairs of the points would say alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Self

from pumice.train.instances import INSTANCES

SHARES = (0.0025, 0.005, 0.01)
"""Of the tokens of the whole run."""
FEW = 2000
"""Tokens: a hundredth of the run that has fewer says little."""
FILE = "probe.json"
STEEPEST = 1.0
"""No exponent above this was ever found for language (0.05 to 0.5 is usual)."""


@dataclass(frozen=True)
class Point:
    """One short run."""

    tokens: int
    loss: float
    """On texts that it has not seen, nats a token."""
    speed: float
    """Tokens a second while it trained."""


@dataclass(frozen=True)
class Forecast:
    """What a run of `tokens` tokens would reach."""

    tokens: int
    loss: float
    low: float
    high: float
    law: str
    """The law behind `loss`, with its numbers."""


@dataclass(frozen=True)
class Cost:
    """What the whole run would take on one machine."""

    machine: str
    hours: float
    dollars: float | None
    """None for this machine."""


@dataclass(frozen=True)
class Probe:
    """The answer to the 1 % question."""

    untrained: float
    """Loss of the random weights."""
    points: tuple[Point, ...]
    forecast: Forecast | None
    """None where the losses follow no law."""
    costs: tuple[Cost, ...]
    warning: str
    """Why it is rough; "" where there is enough data."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives back an equal probe."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The probe that `to_json` made."""
        forecast = Forecast(**values["forecast"]) if values["forecast"] else None
        points = tuple(Point(**each) for each in values["points"])
        costs = tuple(Cost(**each) for each in values["costs"])
        return cls(values["untrained"], points, forecast, costs, values["warning"])


def probe(untrained: float, points: Sequence[Point], tokens: int, parameters: int) -> Probe:
    """What a run of `tokens` tokens on a model with so many weights would reach and take."""
    here = Cost("this machine", tokens / points[-1].speed / 3600, None)
    # Six operations a weight and token: two forward, four back (Kaplan et al. 2020).
    rented = [(each, each.hours(6.0 * parameters * tokens)) for each in INSTANCES]
    costs = [Cost(f"{each.name} ({each.gpu})", hours, hours * each.price) for each, hours in rented]
    warning = ""
    if tokens * SHARES[-1] < FEW:
        warning = f"1 % of the run is {round(tokens * SHARES[-1]):,} tokens: too few for more than a rough guess."
    return Probe(untrained, tuple(points), forecast(points, tokens), (here, *costs), warning)


def forecast(points: Sequence[Point], tokens: int) -> Forecast | None:
    """The loss after `tokens` tokens; None where the losses do not fall from point to point.

    Where three points allow it, loss = E + A * tokens^-a (Hoffmann et al. 2022); else the same without E, the loss that
    no amount of data takes away.
    """
    losses = [point.loss for point in points]
    if losses != sorted(losses, reverse=True) or len(set(losses)) < len(losses):
        return None
    simple = [power_law(pair) for pair in combinations(points, 2)]
    reached = [a * tokens**-exponent for a, exponent in simple]
    fitted = with_floor(points) if len(points) == 3 else None
    if fitted:
        floor, a, exponent = fitted
        loss, law = floor + a * tokens**-exponent, f"{floor:.2f} + {a:.1f} * tokens^-{exponent:.3f}"
    else:
        a, exponent = power_law(points)
        loss, law = a * tokens**-exponent, f"{a:.1f} * tokens^-{exponent:.3f}"
    # As far to both sides as the farthest law through two of the points, but no worse than what was reached already.
    spread = max(abs(loss - each) for each in reached)
    return Forecast(tokens, loss, max(0.0, loss - spread), min(losses[-1], loss + spread), law)


def power_law(points: Sequence[Point]) -> tuple[float, float]:
    """A and a of loss = A * tokens^-a: least squares over the logarithms."""
    xs, ys = [math.log(point.tokens) for point in points], [math.log(point.loss) for point in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    pairs = zip(xs, ys, strict=True)
    slope: float = sum((one - x) * (other - y) for one, other in pairs) / sum((one - x) ** 2 for one in xs)
    return math.exp(y - slope * x), -slope


def with_floor(points: Sequence[Point]) -> tuple[float, float, float] | None:
    """E, A and a of loss = E + A * tokens^-a through three points; None where no such law does."""
    first, second, third = points
    wanted = (first.loss - second.loss) / (second.loss - third.loss)

    def ratio(exponent: float) -> float:
        one, two, three = (float(point.tokens) ** -exponent for point in points)
        fallen: float = (one - two) / (two - three)
        return fallen

    low, high = 1e-6, STEEPEST
    # The ratio grows with the exponent: below the first the losses fall ever faster, above the last too fast.
    if not ratio(low) < wanted < ratio(high):
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(middle) < wanted else (low, middle)
    a = (first.loss - third.loss) / (first.tokens**-low - third.tokens**-low)
    floor = third.loss - a * third.tokens**-low
    return (floor, a, low) if floor > 0 else None


def kept(folder: Path) -> Probe | None:
    """The probe that lies in a job's folder."""
    path = folder / FILE
    return Probe.from_json(json.loads(path.read_text("utf-8"))) if path.exists() else None


def foreseen(folder: Path, loss: float | None) -> str:
    """What was foretold of the job in `folder`, beside the loss that it reached; "" where nothing was."""
    found = kept(folder)
    if found is None or found.forecast is None or loss is None:
        return ""
    told = found.forecast
    return f"The 1 % runs foretold a loss of {told.loss:.2f} ({told.low:.2f} to {told.high:.2f}); it is {loss:.2f}."
