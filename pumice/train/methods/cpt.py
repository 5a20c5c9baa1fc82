"""Continued pre-training's knobs. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.records import Kind
from pumice.train.methods.method import Objective


class Cpt(Objective):
    """Every token of texts and documents is learned, so that the model knows a domain's words and facts."""

    kinds: ClassVar = frozenset({Kind.TEXT})
    trains: ClassVar = "Learns every token of texts and documents."
    paper: ClassVar = "Gururangan et al. 2020, Don't Stop Pretraining, arXiv:2004.10964"
    pace: ClassVar = 0.5
