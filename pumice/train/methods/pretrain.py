"""The knobs of training a new model from nothing. Does not know how it is trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pumice.records import Kind
from pumice.train.methods.method import Weights
from pumice.train.rules import Rule


class Pretrain(Weights):
    """A new Llama-shaped model with random weights, and a tokenizer that is trained on the data."""

    kinds: ClassVar = frozenset({Kind.TEXT})
    adapter: ClassVar = False
    trains: ClassVar = "Every weight of a new model, which starts as random numbers."
    servable_by: ClassVar = frozenset({"llama.cpp", "transformers"})
    paper: ClassVar = "Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv:2203.15556"
    rate: ClassVar = 4e-3
    # Random weights are still far from anything after a hundred steps.
    least_steps: ClassVar = 1000

    size: Literal["1M", "10M", "50M", "100M", "350M"] = "10M"
    """How many weights the model has, about."""
    vocabulary: Annotated[int, Field(ge=512, le=200_000), Rule("a whole number from 512 to 200000")] = 8192
    """Tokens of the new tokenizer, at most."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """All of them."""
        return parameters
