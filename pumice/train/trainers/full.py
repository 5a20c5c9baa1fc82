"""Readies every weight of the base for training."""

from __future__ import annotations

from typing import Any

from pumice.train.trainers.parts import Parts


def prepare(model: Any, parts: Parts) -> Any:
    """Every weight is trained."""
    return model
