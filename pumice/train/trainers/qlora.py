"""Readies LoRA over a base that `load` has loaded in 4 bits. Knows peft."""

from __future__ import annotations

from typing import Any

from peft import prepare_model_for_kbit_training

from pumice.train.trainers import lora
from pumice.train.trainers.parts import Parts


def prepare(model: Any, parts: Parts) -> Any:
    """A new adapter, or one that goes on; what is not in 4 bits (norms, embeddings) computes in float32."""
    # The trainer itself decides whether activations are computed twice.
    ready = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # type: ignore[no-untyped-call]
    return lora.prepare(ready, parts)
