"""Builds the trainer of full fine-tuning."""

from __future__ import annotations

from pumice.train.trainers.parts import Parts
from pumice.train.trainers.sft import Trainer, build_sft, load_model


def build(parts: Parts) -> Trainer:
    """Every weight of the base is trained."""
    return build_sft(parts, *load_model(parts))
