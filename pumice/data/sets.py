"""Which rows are trained on, which are asked afterwards, and what an answer to them proves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pumice.records import Dataset, Example, Examples

SetName = Literal["held-out rows", "validation file", "recall of trained rows"]


@dataclass(frozen=True)
class Sets:
    """Rows to train on and rows to ask; `name` says what the latter prove."""

    trained: Examples
    questions: tuple[Example, ...]
    name: SetName


class Trained:
    """A dataset's rows without those that are held out, which are remembered as they come by."""

    def __init__(self, dataset: Dataset) -> None:
        self.held: tuple[Example, ...] | None = None
        """The held-out rows, once all rows came by."""
        self._dataset, self._places = dataset, frozenset(dataset.held_out)

    def __len__(self) -> int:
        return len(self._dataset.examples) - len(self._places)

    def __iter__(self) -> Iterator[Example]:
        held: list[Example] = []
        for place, example in enumerate(self._dataset.examples):
            if place in self._places:
                held.append(example)
            else:
                yield example
        self.held = tuple(held)


def choose_sets(dataset: Dataset, validation: Dataset | None, held: tuple[Example, ...] | None = None) -> Sets:
    """A validation file is asked as it is; without one, rows are held out where there are enough of them.

    `held` are those, if they are known already; else the file is read for them.
    """
    if validation:
        return Sets(dataset.examples, tuple(validation.examples), "validation file")
    if not dataset.held_out:
        # Fewer than 200.
        rows = tuple(dataset.examples)
        return Sets(rows, rows, "recall of trained rows")
    trained = Trained(dataset)
    if held is None:
        for _ in trained:
            pass
        held = trained.held
    assert held is not None
    return Sets(trained, held, "held-out rows")
