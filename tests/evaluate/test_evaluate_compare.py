"""The bootstrap, against a case with a known answer, and the verdict at its borders."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumice.evaluate.compare import negative, paired, unpaired, verdict
from pumice.records import Interval

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60)


def test_the_interval_agrees_with_the_normal_one_where_both_hold() -> None:
    difference = np.random.default_rng(5).normal(0.3, 1.0, 400)
    found = paired([0.0] * 400, difference.tolist(), seed=0)
    half = 1.96 * difference.std() / math.sqrt(400)
    assert found.value == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - half, abs=0.01)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.01)


def test_pairs_matter() -> None:
    base = np.linspace(0, 0.9, 50)
    same_order = paired(base.tolist(), (base + 0.05).tolist(), seed=0)
    other_order = paired(base.tolist(), (base + 0.05)[::-1].tolist(), seed=0)
    assert (same_order.low, same_order.high) == pytest.approx((0.05, 0.05))
    assert other_order.low < 0 < other_order.high


def test_weights_make_the_difference_that_of_the_weighted_means() -> None:
    found = paired([1.0, 3.0], [0.5, 3.5], seed=0, weights=[30, 10])
    assert found == Interval(pytest.approx(-0.25), pytest.approx(-0.5), pytest.approx(0.5))


def test_the_seed_decides_the_interval() -> None:
    base, tuned = [0.0] * 20, [i / 20 for i in range(20)]
    assert paired(base, tuned, seed=1) == paired(base, tuned, seed=1) != paired(base, tuned, seed=2)


@pytest.mark.parametrize(("base", "tuned"), [([], []), ([1.0], [1.0, 2.0])])
def test_scores_that_are_no_pairs_are_refused(base: list[float], tuned: list[float]) -> None:
    with pytest.raises(ValueError, match="one length"):
        paired(base, tuned, seed=0)


@settings(max_examples=25)
@given(SCORES)
def test_the_interval_lies_between_the_extremes_and_holds_no_surprise(pairs: list[tuple[float, float]]) -> None:
    base, tuned = [list(side) for side in zip(*pairs, strict=True)]
    found = paired(base, tuned, seed=0)
    differences = [b - a for a, b in pairs]
    slack = 1e-9
    assert min(differences) - slack <= found.low <= found.high <= max(differences) + slack
    assert paired(base, base, seed=0) == Interval(0, 0, 0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.01, 0.2, "better"), (0.0, 0.2, "undecided"), (-0.1, 0.2, "undecided"), (-0.2, 0.0, "undecided"),
     (-0.2, -0.01, "worse")],
)  # fmt: skip
def test_the_verdict_needs_an_interval_without_zero(low: float, high: float, expected: str) -> None:
    change = Interval((low + high) / 2, low, high)
    against = Interval(1.0, 0.9, 1.1)
    assert verdict("held-out rows", 20, {"loss": against, "token_f1": change}) == expected
    assert verdict("validation file", 20, {"loss": negative(change)}) == expected  # a loss that falls is better


def test_five_pairs_prove_nothing() -> None:
    change = {"token_f1": Interval(0.5, 0.4, 0.6)}
    assert verdict("validation file", 5, change) == "undecided"
    assert verdict("validation file", 6, change) == "better"


def test_trained_rows_get_no_verdict() -> None:
    assert verdict("recall of trained rows", 100, {"token_f1": Interval(0.9, 0.8, 1.0)}) == "recall only"


def test_two_sides_that_were_asked_other_questions_are_drawn_alone() -> None:
    gap = unpaired([0.0] * 50 + [1.0] * 50, [1.0] * 90 + [0.0] * 10, seed=0)
    assert gap.value == pytest.approx(0.4)
    # The normal interval of two independent shares: 0.4 ± 1.96 · sqrt(0.25/100 + 0.09/100).
    assert gap.low == pytest.approx(0.286, abs=0.02) and gap.high == pytest.approx(0.514, abs=0.02)
    with pytest.raises(ValueError, match="both sides"):
        unpaired([], [1.0], seed=0)
