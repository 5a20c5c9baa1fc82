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


def unpaired(base: Sequence[float], tuned: Sequence[float], seed: int) -> Interval:
    """Mean of tuned minus mean of base with its 95 % interval, where no question was put to both: each is drawn alone.

    Raises `ValueError` where one is empty.
    """
    if not base or not tuned:
        raise ValueError("both sides need a score.")
    means = [_means(np.asarray(side, dtype=np.float64), seed + at) for at, side in enumerate((base, tuned))]
    low, high = np.percentile(means[1] - means[0], (2.5, 97.5))
    return Interval(float(np.mean(tuned) - np.mean(base)), float(low), float(high))


def _means(values: np.ndarray, seed: int) -> np.ndarray:
    """Of `RESAMPLES` draws, a few at a time: a log may be long."""
    draw, count = np.random.default_rng(seed), len(values)
    shares = np.full(count, 1 / count)
    blocks = [draw.multinomial(count, shares, size=100) @ values / count for _ in range(RESAMPLES // 100)]
    return np.concatenate(blocks)


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
    return judged(gain, count)


def judged(gain: Interval, count: int) -> Verdict:
    """What a gain of `count` scores proves."""
    if count < FEWEST or gain.low <= 0 <= gain.high:
        return "undecided"
    return "better" if gain.low > 0 else "worse"


def negative(interval: Interval) -> Interval:
    """The interval of the negated value."""
    return Interval(-interval.value, -interval.high, -interval.low)
