"""Which rows are trained on, which are asked afterwards, and what an answer to them proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pumice.data.split import split
from pumice.records import Dataset, Example

SetName = Literal["held-out rows", "validation file", "recall of trained rows"]


@dataclass(frozen=True)
class Sets:
    """Rows to train on and rows to ask; `name` says what the latter prove."""

    trained: tuple[Example, ...]
    questions: tuple[Example, ...]
    name: SetName


def choose_sets(dataset: Dataset, validation: Dataset | None) -> Sets:
    """A validation file is asked as it is; without one, rows are held out where there are enough of them."""
    if validation:
        return Sets(dataset.examples, validation.examples, "validation file")
    trained, held_out = split(dataset.examples)
    if held_out:
        return Sets(trained, held_out, "held-out rows")
    return Sets(dataset.examples, dataset.examples, "recall of trained rows")
