"""The training methods by name: one file each. Loads no training library."""

from __future__ import annotations

from pydantic import BaseModel

from pumice.train.methods.full import Full
from pumice.train.methods.lora import Lora
from pumice.train.methods.method import Method

METHODS: dict[str, type[Method]] = {"lora": Lora, "full": Full}


class Tables(BaseModel):
    """The tables of a recipe: one a method, of the same name."""

    lora: Lora | None = None
    """Knobs of LoRA; only with `method: lora`."""
    full: Full | None = None
    """Full fine-tuning has no knobs; only with `method: full`."""


__all__ = ["METHODS", "Full", "Lora", "Method", "Tables"]
