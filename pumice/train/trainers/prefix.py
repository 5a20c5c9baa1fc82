"""Readies prefix tuning. Knows peft."""

from __future__ import annotations

from typing import Any

import torch
from peft import PrefixTuningConfig
from torch import Tensor

from pumice.train.methods import Prefix
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.soft import in_front, random_words


def prepare(model: Any, parts: Parts) -> Any:
    """Keys and values that start as those of random words, as the paper advises, or those that go on."""
    knobs = parts.recipe.weights
    assert isinstance(knobs, Prefix)
    tuned = in_front(model, PrefixTuningConfig(num_virtual_tokens=knobs.tokens, task_type="CAUSAL_LM"), parts)
    if parts.adapter is None:
        weight = tuned.prompt_encoder["default"].embedding.weight
        start = read(model, random_words(model, knobs.tokens))
        with torch.no_grad():
            # Where layers differ in shape, peft lays them out by rules of its own: they start as nothing.
            weight.copy_(start) if start is not None and start.shape == weight.shape else weight.zero_()
    return tuned


def read(model: Any, ids: Tensor) -> Tensor | None:
    """What the base keeps of these ids: [tokens, 2 * layers * width]; None where layers keep unlike things."""
    with torch.no_grad():
        cache = model(input_ids=ids[None], use_cache=True).past_key_values
    kept = [each[0] for layer in cache.layers for each in (layer.keys, layer.values)]
    if len({each.shape for each in kept}) > 1:
        return None
    return torch.stack(kept).permute(2, 0, 1, 3).reshape(len(ids), -1)
