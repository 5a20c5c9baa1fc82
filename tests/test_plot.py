"""Curves of jobs become a picture that is the same for the same steps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pumice.errors import InputError
from pumice.plot import curves, told
from pumice.records import Event


def steps(*losses: float) -> list[Event]:
    """A job's story: a note, then these losses with a reward that rises."""
    found = [Event("note", {"text": "x"})]
    for step, loss in enumerate(losses, 1):
        found.append(Event("step", {"step": step, "loss": loss, "metrics": {"reward": step / 10}}))
    return found


def test_every_number_has_a_panel_and_every_job_a_line(tmp_path: Path) -> None:
    picture = curves({"one": steps(3.0, 2.0, 1.0), "other": steps(3.0, 2.5)}, tmp_path / "new" / "curve.svg")
    text = picture.read_text()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert {"loss", "reward", "step", "one", "other"} <= set(words)
    again = curves({"one": steps(3.0, 2.0, 1.0), "other": steps(3.0, 2.5)}, tmp_path / "again.svg")
    assert again.read_text() == text


def test_the_loss_of_unseen_rows_is_drawn_over_the_loss(tmp_path: Path) -> None:
    looks = [Event("validation", {"step": step, "validation_loss": loss}) for step, loss in ((0, 4.0), (3, 2.0))]
    text = curves({"one": [*looks, *steps(3.0, 2.0, 1.0)]}, tmp_path / "curve.svg").read_text()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert {"one", "one, unseen rows"} <= set(words) and words.count("loss") == words.count("reward") == 1
    assert "stroke-dasharray" in text
    with pytest.raises(InputError, match="one has not made a step yet"):
        curves({"one": looks[:1]}, tmp_path / "curve.svg")


def test_a_step_that_was_repeated_counts_as_it_was_the_last_time() -> None:
    assert told([*steps(3.0, 2.0), *steps(3.0, 1.5)[2:]]) == {
        1: {"loss": 3.0, "reward": 0.1},
        2: {"loss": 1.5, "reward": 0.2},
    }


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"curve.gif is no picture's name"):
        curves({"one": steps(1.0)}, tmp_path / "curve.gif")
    with pytest.raises(InputError, match="one has not made a step yet"):
        curves({"one": [Event("note", {"text": "x"})]}, tmp_path / "curve.svg")
