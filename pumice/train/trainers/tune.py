"""Readies a model's weights for training, by the name of the weights. Knows no objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pumice.train.trainers import dora, full, ia3, last_layers, lora, p_tuning, prefix, prompt, qlora, rslora
from pumice.train.trainers.parts import Parts

WEIGHTS: dict[str, Callable[[Any, Parts], Any]] = {
    "lora": lora.prepare,
    "rslora": rslora.prepare,
    "dora": dora.prepare,
    "qlora": qlora.prepare,
    "full": full.prepare,
    "last-layers": last_layers.prepare,
    "ia3": ia3.prepare,
    "prompt": prompt.prepare,
    "p-tuning": p_tuning.prepare,
    "prefix": prefix.prepare,
    "pretrain": full.prepare,
}


def tune(model: Any, parts: Parts) -> Any:
    """The model of which those numbers, and no others, are trained that the recipe names."""
    return WEIGHTS[parts.recipe.way](model, parts)
