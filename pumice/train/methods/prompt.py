"""Prompt tuning's knobs. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.method import Weights
from pumice.train.rules import Count, Text


class Prompt(Weights):
    """Vectors that stand in front of every conversation, as words would."""

    adapter: ClassVar = True
    trains: ClassVar = "Vectors in front of every conversation, in the place of words."
    servable_by: ClassVar = frozenset({"transformers"})
    paper: ClassVar = "Lester et al. 2021, The Power of Scale for Parameter-Efficient Prompt Tuning, arXiv:2104.08691"
    rate: ClassVar = 3e-2
    packs: ClassVar = False

    tokens: Count = 20
    """How many vectors."""
    text: Text | None = None
    """Words whose vectors they start as. By default those of random words."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """One vector a token."""
        return self.tokens * hidden

    @property
    def in_front(self) -> int:
        """Each takes one position."""
        return self.tokens

    def held(self, tokens: float) -> float:
        """They are read with every row."""
        return tokens + self.tokens
