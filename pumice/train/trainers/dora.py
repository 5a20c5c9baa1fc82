"""Readies DoRA. Knows peft."""

from __future__ import annotations

from typing import Any

from pumice.train.trainers.lora import adapted, configure
from pumice.train.trainers.parts import Parts


def prepare(model: Any, parts: Parts) -> Any:
    """A new adapter on the base, or one that goes on, with a trained length for each output of a layer."""
    return adapted(model, configure(parts, use_dora=True), parts)
