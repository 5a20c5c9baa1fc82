"""DPO's knobs. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.records import Kind
from pumice.train.methods.method import Objective
from pumice.train.rules import Rate


class Dpo(Objective):
    """Of two answers the chosen one becomes more likely than the other, measured from where training starts."""

    kinds: ClassVar = frozenset({Kind.PREFERENCE})
    trains: ClassVar = "Learns which of two answers is better, measured from where it starts."
    paper: ClassVar = "Rafailov et al. 2023, Direct Preference Optimization, arXiv:2305.18290"
    reference: ClassVar = True
    all_logits: ClassVar = True
    proof: ClassVar = "pairs"
    pace: ClassVar = 0.1

    beta: Rate = 0.1
    """How dear it is to leave the start: small values let the model move far."""
