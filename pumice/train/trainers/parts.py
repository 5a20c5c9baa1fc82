"""What the loop has ready before a method is asked for its trainer. Knows no method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from pumice.records import Base, Tell
from pumice.train.recipe import Recipe


@dataclass(frozen=True)
class Parts:
    """All that a trainer is made of."""

    recipe: Recipe
    """Resolved: no gaps."""
    base: Base
    tokenizer: PreTrainedTokenizerBase
    rows: datasets.Dataset
    """Columns `input_ids` and `labels`."""
    arguments: dict[str, Any]
    """What the recipe and the machine say for every method, as transformers' TrainingArguments call it."""
    cuda: bool
    adapter: Path | None
    """An adapter whose training goes on."""
    tell: Tell
