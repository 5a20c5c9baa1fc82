"""A classification head's knob. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.records import Kind
from pumice.train.methods.method import Weights
from pumice.train.rules import Whole


class Head(Weights):
    """Transfer learning: a new head that names a text's class, on a base that is frozen but for its top blocks."""

    kinds: ClassVar = frozenset({Kind.LABELLED})
    adapter: ClassVar = False
    trains: ClassVar = "A new head that names a text's class, and on demand the top blocks."
    servable_by: ClassVar = frozenset({"transformers"})
    paper: ClassVar = "Radford et al. 2018, Improving Language Understanding by Generative Pre-Training"
    rate: ClassVar = 1e-3
    proof: ClassVar = "classes"
    classifier: ClassVar = True
    packs: ClassVar = False

    blocks: Whole = 0
    """How many of the top blocks are trained with the head. With 0 the base only reads."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """A Llama-shaped block has about 10 * hidden squared weights; the head has one vector a class."""
        return min(parameters, min(self.blocks, layers) * round(10 * hidden**2)) + 10 * hidden

    def kept(self, layers: int) -> int:
        """Those of the trained blocks: nothing leads back through what lies below."""
        return min(self.blocks, layers)
