"""Which variant answers: drawn by weight."""

from __future__ import annotations

import random
from collections import Counter

from pumice.traffic.variants import choose


def drawn(weights: dict[str, float], times: int = 200) -> Counter[str]:
    dice = random.Random(7)
    return Counter(choose(weights, dice) for _ in range(times))


def test_nine_to_one_is_about_nine_to_one() -> None:
    counts = drawn({"most": 9, "few": 1})
    # 200 draws at 0.1: 20, give or take three times 4.2.
    assert 7 <= counts["few"] <= 33 and counts.total() == 200


def test_a_weight_of_zero_is_never_drawn() -> None:
    assert drawn({"one": 1, "none": 0}) == {"one": 200}
    assert drawn({"none": 0, "one": 0.001}) == {"one": 200}


def test_without_any_weight_all_are_as_likely() -> None:
    counts = drawn({"one": 0, "other": 0})
    assert 79 <= counts["one"] <= 121
