"""What the loop has ready before a method is asked for its trainer. Knows no method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

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
    rows: Sequence[Tokens]
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

    def dataset(self, columns: Callable[[Tokens], dict[str, Any]]) -> datasets.Dataset:
        """The rows in their order, each under the names that a trainer's collator reads."""
        return datasets.Dataset.from_list([columns(row) for row in self.rows])
