"""IA3, which has no knobs of its own. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.method import Weights


class Ia3(Weights):
    """One factor for each key, value and feed-forward activation."""

    adapter: ClassVar = True
    trains: ClassVar = "One factor for each key, value and feed-forward activation."
    servable_by: ClassVar = frozenset({"transformers"})
    paper: ClassVar = (
        "Liu et al. 2022, Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper, arXiv:2205.05638"
    )
    rate: ClassVar = 1e-2

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """Keys and values of a Llama-shaped layer, and the input of its last projection."""
        return round(3.5 * hidden * layers)
