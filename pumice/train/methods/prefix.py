"""Prefix tuning's knob. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.method import Weights
from pumice.train.rules import Count


class Prefix(Weights):
    """Keys and values in front of every conversation, in every layer."""

    adapter: ClassVar = True
    trains: ClassVar = "Keys and values in front of every conversation, in every layer."
    servable_by: ClassVar = frozenset({"transformers"})
    paper: ClassVar = "Li and Liang 2021, Prefix-Tuning: Optimizing Continuous Prompts for Generation, arXiv:2101.00190"
    rate: ClassVar = 1e-2
    packs: ClassVar = False
    # transformers drops a cache that is there before the first layer when it computes activations twice.
    recomputes: ClassVar = False

    tokens: Count = 20
    """How many positions."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """A key and a value a layer and position; a third as wide as the model where heads share them."""
        return round(self.tokens * layers * 2 * hidden / 3)

    @property
    def in_front(self) -> int:
        """Each takes one position."""
        return self.tokens
