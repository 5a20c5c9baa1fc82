"""An adapter is the favourite while most of the traffic is its own."""

from __future__ import annotations

import pytest

from pumice.engine.favourite import FEW, MOST, RECENT, Favourite


def counted(favourite: Favourite, kinds: str) -> Favourite:
    """A letter a request; a dot is the base."""
    for kind in kinds:
        favourite.count(None if kind == "." else kind)
    return favourite


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        ("", None),
        ("a" * (MOST - 1), None),
        ("a" * MOST, "a"),
        ("aaab" * (RECENT // 4), "a"),
        ("aab" * RECENT, None),
        ("." * RECENT * 2, None),
        ("aaa." * RECENT, "a"),
        ("abcdefgh" * RECENT, None),
        ("a" * RECENT + "b" * MOST, "b"),
    ],
)
def test_three_quarters_of_the_last_requests_choose(kinds: str, chosen: str | None) -> None:
    assert counted(Favourite(), kinds).chosen == chosen


def test_one_that_was_chosen_stays_until_half_of_the_traffic_is_of_others() -> None:
    favourite = counted(Favourite(), "a" * RECENT)
    assert counted(favourite, "bcde" * ((RECENT - FEW) // 4)).chosen == "a"
    assert counted(favourite, "b").chosen is None


def test_what_is_forgotten_counts_no_more() -> None:
    favourite = counted(Favourite(), "a" * RECENT)
    favourite.forget()
    assert favourite.chosen is None
    assert counted(favourite, "a" * (MOST - 1)).chosen is None
    assert counted(favourite, "a").chosen == "a"
