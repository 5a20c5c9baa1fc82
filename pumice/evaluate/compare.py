"""Is the tuned model better than its base, or is it chance? Paired over questions. Knows numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from pumice.data.sets import SetName
from pumice.records import Interval

RESAMPLES = 10_000
FEWEST = 6
"""Five pairs may all lean one way by chance in 6 % of cases (2 / 2^5); six are needed to tell at 5 %."""

Verdict = Literal["better", "worse", "undecided", "recall only"]


def paired(
    base: Sequence[float], tuned: Sequence[float], seed: int, weights: Sequence[float] | None = None
) -> Interval:
    """Mean of tuned minus base with its 95 % interval: percentile bootstrap (Efron 1979), paired (Koehn 2004).

    The sequences hold one score a question, in the same order. `weights` makes the mean a weighted one (tokens of a
    reference, for losses); a question is always drawn as a whole. Raises `ValueError` for lengths that differ or are 0.
    """
    difference = np.asarray(tuned, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    count = len(difference)
    if count == 0 or len(tuned) != len(base):
        raise ValueError(f"paired scores must be of one length and not empty: {len(base)} and {len(tuned)}.")
    weight = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    weighted = difference * weight
    # How often each question is drawn, instead of which: the means are then one matrix product.
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    means = (drawn @ weighted) / (drawn @ weight)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(weighted.sum() / weight.sum()), float(low), float(high))


DECIDING = ("accuracy", "reward", "token_f1", "loss")
"""The verdict follows the first of these that was scored."""


def deciding(differences: Mapping[str, Interval]) -> str:
    """The name of the score that the verdict follows."""
    return next(name for name in DECIDING if name in differences)


def verdict(set_name: SetName, count: int, differences: Mapping[str, Interval]) -> Verdict:
    """What `differences` prove about unseen questions."""
    if set_name == "recall of trained rows":
        return "recall only"
    name = deciding(differences)
    gain = negative(differences[name]) if name == "loss" else differences[name]
    if count < FEWEST or gain.low <= 0 <= gain.high:
        return "undecided"
    return "better" if gain.low > 0 else "worse"


def negative(interval: Interval) -> Interval:
    """The interval of the negated value."""
    return Interval(-interval.value, -interval.high, -interval.low)
