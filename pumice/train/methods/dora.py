"""DoRA, whose knobs are LoRA's. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.lora import Lora


class Dora(Lora):
    """LoRA for the direction of each weight column, and a trained length for it."""

    trains: ClassVar = "As lora, and a length for each output of a layer."
    servable_by: ClassVar = frozenset({"transformers"})
    paper: ClassVar = "Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation, arXiv:2402.09353"

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """LoRA's, and one number an output: about 13 * hidden a layer."""
        return super().trained(hidden, layers, parameters) + 13 * hidden * layers
