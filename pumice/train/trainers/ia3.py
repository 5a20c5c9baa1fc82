"""Readies IA3. Knows peft."""

from __future__ import annotations

from typing import Any

from peft import IA3Config

from pumice.errors import InputError
from pumice.train.trainers.lora import adapted
from pumice.train.trainers.parts import Parts

SCALED = ("k_proj", "v_proj", "down_proj")
"""Layers whose keys, values and feed-forward activations get factors; other names are peft's own."""


def prepare(model: Any, parts: Parts) -> Any:
    """Factors that start as ones, or those that go on. Raises `InputError` for a base whose layers are not known."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    plain = names.issuperset(SCALED)
    config = IA3Config(
        target_modules=list(SCALED) if plain else None,
        feedforward_modules=[SCALED[-1]] if plain else None,
        task_type="CAUSAL_LM",
    )
    try:
        return adapted(model, config, parts)
    except ValueError as error:
        raise InputError(
            f"ia3 does not know where {parts.base.name}, a {parts.base.architecture}, has its keys and values.",
            str(error),
            "Train with lora: it finds every linear layer by itself.",
        ) from error
