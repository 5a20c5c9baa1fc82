"""ORPO's knobs. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.records import Kind
from pumice.train.methods.method import Objective
from pumice.train.rules import Rate


class Orpo(Objective):
    """The chosen answer is learned, and made likelier than the other in the same step; it needs no reference."""

    kinds: ClassVar = frozenset({Kind.PREFERENCE})
    trains: ClassVar = "Learns the chosen answer and its odds against the other at once."
    paper: ClassVar = (
        "Hong et al. 2024, ORPO: Monolithic Preference Optimization without Reference Model, arXiv:2403.07691"
    )
    all_logits: ClassVar = True
    proof: ClassVar = "pairs"
    pace: ClassVar = 0.25

    beta: Rate = 0.1
    """Weight of the odds beside the plain loss on the chosen answer (λ in the paper)."""
