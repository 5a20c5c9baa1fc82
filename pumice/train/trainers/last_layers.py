"""Readies the top blocks of the base for training. Knows no library that adapts."""

from __future__ import annotations

from typing import Any

import torch

from pumice.train.methods import LastLayers
from pumice.train.trainers.parts import Parts


def prepare(model: Any, parts: Parts) -> Any:
    """The top blocks and the last norm are trained; all else stays as it is."""
    knobs = parts.recipe.weights
    assert isinstance(knobs, LastLayers)
    model.requires_grad_(False)
    for module in top(model, knobs.blocks):
        module.requires_grad_(True)
    return model


def top(model: Any, blocks: int) -> list[torch.nn.Module]:
    """The top `blocks` of a decoder, and the norm that its last block's output goes through."""
    count = model.config.get_text_config().num_hidden_layers
    for parent in model.base_model.modules():
        for layers in parent.children():
            if isinstance(layers, torch.nn.ModuleList) and len(layers) == count:
                norms = [one for one in parent.children() if "norm" in type(one).__name__.lower()]
                return [*list(layers)[-blocks:], *norms]
    raise AssertionError(f"{type(model).__name__} has no list of its {count} blocks")
