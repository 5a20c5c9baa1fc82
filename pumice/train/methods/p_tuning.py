"""P-tuning's knobs. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.method import Weights
from pumice.train.rules import Count


class PTuning(Weights):
    """Vectors in front of every conversation, written by a small network that is left out afterwards."""

    adapter: ClassVar = True
    trains: ClassVar = "Vectors in front of every conversation, through a small network."
    servable_by: ClassVar = frozenset({"transformers"})
    paper: ClassVar = "Liu et al. 2021, GPT Understands, Too, arXiv:2103.10385"
    rate: ClassVar = 3e-3
    packs: ClassVar = False

    tokens: Count = 20
    """How many vectors."""
    hidden: Count = 128
    """Width of the network that writes them."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """The vectors, and three layers of the network."""
        return self.tokens * hidden + 2 * hidden * self.hidden + self.hidden**2

    @property
    def in_front(self) -> int:
        """Each takes one position."""
        return self.tokens

    def held(self, tokens: float) -> float:
        """They are read with every row."""
        return tokens + self.tokens
