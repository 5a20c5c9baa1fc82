"""LoRA's knobs. Does not know how it is trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from pumice.train.methods.method import Weights
from pumice.train.rules import Count, Fraction, Rule

Targets = Annotated[
    Literal["all-linear"] | Annotated[tuple[str, ...], Field(strict=False, min_length=1)],
    Rule("all-linear, or a list of layer names such as [q_proj, v_proj]"),
]


class Lora(Weights):
    """Low-rank adaptation: two thin matrices beside each chosen layer."""

    adapter: ClassVar = True
    trains: ClassVar = "Two thin matrices beside each linear layer; the base stays as it is."
    servable_by: ClassVar[frozenset[str]] = frozenset({"llama.cpp", "transformers"})
    paper: ClassVar[str] = (
        "Hu et al. 2021, LoRA, arXiv:2106.09685; learning rate: Thinking Machines 2025, LoRA Without Regret"
    )
    rate: ClassVar = 2e-3

    r: Count = 16
    """Rank of the matrices: how much can be learned, and how large the adapter is."""
    alpha: Count | None = None
    """Strength: the change is multiplied by alpha / r. By default twice r."""
    dropout: Fraction = 0.0
    """Share of the adapter's inputs that is zeroed at random while training."""
    targets: Targets = "all-linear"
    """Which layers get an adapter."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """The matrices of one layer have about 19 * hidden * r numbers in a Llama-shaped model."""
        share = 1.0 if self.targets == "all-linear" else len(self.targets) / 7
        return round(19 * hidden * self.r * layers * share)

    def resolved(self) -> Self:
        """`alpha` filled in."""
        return self.model_copy(update={"alpha": 2 * self.r if self.alpha is None else self.alpha})
