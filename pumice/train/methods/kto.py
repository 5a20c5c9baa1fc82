"""KTO's knobs. Does not know how it is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pumice.records import Example, Kind
from pumice.train.methods.method import Objective
from pumice.train.rules import Rate


class Kto(Objective):
    """Answers that were wanted become more likely and unwanted ones less, with no pair needed."""

    kinds: ClassVar = frozenset({Kind.UNPAIRED, Kind.PREFERENCE})
    trains: ClassVar = "Learns from single answers, each wanted or not; a pair counts as two."
    paper: ClassVar = (
        "Ethayarajh et al. 2024, KTO: Model Alignment as Prospect Theoretic Optimization, arXiv:2402.01306"
    )
    reference: ClassVar = True
    all_logits: ClassVar = True
    proof: ClassVar = "pairs"
    in_parts: ClassVar = False
    pace: ClassVar = 0.1

    beta: Rate = 0.1
    """How dear it is to leave the start: small values let the model move far."""
    desirable_weight: Rate = 1.0
    """How much a wanted answer counts. With few of them, raise it until both sides weigh the same."""
    undesirable_weight: Rate = 1.0
    """How much an unwanted answer counts."""

    def reads(self, example: Example) -> tuple[Example, ...]:
        """A pair becomes a wanted and an unwanted answer."""
        if not example.rejected:
            return (example,)
        alone = replace(example, rejected=(), wanted=True)
        return alone, replace(alone, messages=example.rejected, wanted=False)

    @property
    def reading(self) -> str:
        return "pairs as two"
