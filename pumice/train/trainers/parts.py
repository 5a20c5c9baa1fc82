"""What the loop has ready before a method is asked for its trainer. Knows no method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from transformers import PreTrainedTokenizerBase

from pumice.data.token_rows import Rows
from pumice.records import Base, Tell, Tokens
from pumice.train.recipe import Recipe
from pumice.train.switches import Switches


@dataclass(frozen=True)
class Parts:
    """All that a trainer is made of."""

    recipe: Recipe
    """Resolved: no gaps."""
    base: Base
    tokenizer: PreTrainedTokenizerBase
    rows: Rows
    arguments: dict[str, Any]
    """What the recipe and the machine say for every method, as transformers' TrainingArguments call it."""
    cuda: bool
    adapter: Path | None
    """An adapter whose training goes on."""
    guide: Path | None
    """Folder of the other model that training asks: a teacher, a reward model."""
    tell: Tell
    switches: Switches
    """How a step is computed on this machine."""

    @property
    def fast(self) -> bool:
        """Whether a step is made of the pieces in `train/fast`."""
        return self.switches.fast.on

    def dataset(self, columns: Callable[[Tokens], dict[str, Any]], **beside: Callable[[int, Tokens], Any]) -> Columns:
        """The rows in their order, each under the names that a trainer's collator reads.

        `beside` gives more columns, each from the place of a row and the row.
        """
        return Columns(self.rows, columns, beside)


class Columns(datasets.Dataset):  # type: ignore[misc]
    """Rows as TRL wants to be given them, of which each is made when it is asked for."""

    def __init__(
        self,
        rows: Sequence[Tokens],
        columns: Callable[[Tokens], dict[str, Any]],
        beside: dict[str, Callable[[int, Tokens], Any]],
    ) -> None:
        # Of what is inherited only the type is used.
        super().__init__(datasets.table.InMemoryTable(pyarrow.table({})), fingerprint="rows")
        self.rows, self.columns, self.beside = rows, columns, beside

    def over(self, rows: Sequence[Tokens]) -> Columns:
        """The same columns of other rows."""
        return Columns(rows, self.columns, self.beside)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        row = self.rows[place]
        return self.columns(row) | {name: of(place, row) for name, of in self.beside.items()}

    def __getitems__(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of a batch, as torch asks for them."""
        return [self[place] for place in places]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[place] for place in range(len(self)))
