"""Rank-stabilised LoRA, whose knobs are LoRA's. Does not know how it is trained."""

from __future__ import annotations

from typing import ClassVar, Self

from pumice.train.methods.lora import Lora
from pumice.train.rules import Count


class RsLora(Lora):
    """LoRA whose change is multiplied by alpha / √r, so that a large rank learns as fast as a small one."""

    trains: ClassVar = "As lora, scaled by alpha / √r, for ranks of 64 and more."
    paper: ClassVar = "Kalajdzievski 2023, A Rank Stabilization Scaling Factor for LoRA, arXiv:2312.03732"

    alpha: Count | None = None
    """Strength: the change is multiplied by alpha / √r. By default twice √r, so that both start alike."""

    def resolved(self) -> Self:
        """`alpha` filled in."""
        return self.model_copy(update={"alpha": round(2 * self.r**0.5) if self.alpha is None else self.alpha})
