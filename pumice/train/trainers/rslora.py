"""Readies rank-stabilised LoRA. Knows peft."""

from __future__ import annotations

from typing import Any

from pumice.train.trainers.lora import adapted, configure
from pumice.train.trainers.parts import Parts


def prepare(model: Any, parts: Parts) -> Any:
    """A new adapter on the base, or one that goes on; its change is multiplied by alpha / √r."""
    return adapted(model, configure(parts, use_rslora=True), parts)
