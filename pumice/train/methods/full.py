"""Full fine-tuning, which has no knobs of its own. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.method import Weights


class Full(Weights):
    """Every weight of the base is trained."""

    adapter: ClassVar = False
    trains: ClassVar = "Every weight of the base; the result is a whole model."
    servable_by: ClassVar = frozenset({"llama.cpp", "transformers"})
    paper: ClassVar = "Howard and Ruder 2018, Universal Language Model Fine-tuning, arXiv:1801.06146"
    rate: ClassVar = 2e-4

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """All of them."""
        return parameters
