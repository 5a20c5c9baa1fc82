"""Transfer learning on the last layers: its knob. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar

from pumice.train.methods.method import Weights
from pumice.train.rules import Count


class LastLayers(Weights):
    """The top blocks and the last norm are trained; embeddings and all blocks below stay as they are."""

    adapter: ClassVar = False
    trains: ClassVar = "The top blocks and the last norm; the result is a whole model."
    servable_by: ClassVar = frozenset({"llama.cpp", "transformers"})
    paper: ClassVar = "Yosinski et al. 2014, How transferable are features in deep neural networks?, arXiv:1411.1792"
    rate: ClassVar = 4e-4

    blocks: Count = 4
    """How many of the top blocks are trained."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """A Llama-shaped block has about 10 * hidden squared weights."""
        return min(parameters, min(self.blocks, layers) * round(10 * hidden**2))

    def kept(self, layers: int) -> int:
        """Those of the trained blocks: nothing leads back through what lies below."""
        return min(self.blocks, layers)
