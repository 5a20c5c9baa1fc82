"""Loads a base's weights for training. Knows no method."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from pumice.errors import InputError
from pumice.train.fast import blocks
from pumice.train.trainers.parts import Parts


def load_causal(parts: Parts) -> PreTrainedModel:
    """The base as a model that writes. Reads safetensors only. Raises `InputError` when it cannot be loaded."""
    return load(parts, AutoModelForCausalLM)


def load(parts: Parts, kind: Any, **settings: Any) -> PreTrainedModel:
    """The base as one of transformers' Auto classes, with `settings` for its configuration."""
    # A CPU without bf16 units is eight times slower in bf16; weights that are trained need fp32 everywhere.
    dtype = torch.bfloat16 if parts.cuda and parts.recipe.weights.adapter else torch.float32
    if parts.recipe.weights.four_bits:
        settings |= {"quantization_config": four_bits(), "device_map": {"": 0}}
    try:
        model = kind.from_pretrained(
            parts.base.folder, dtype=dtype, use_safetensors=True, local_files_only=True, **settings
        )
    except (OSError, ValueError) as error:
        raise InputError(f"The base {parts.base.name} cannot be loaded for training.", str(error)) from error
    assert isinstance(model, PreTrainedModel)
    if parts.fast:
        blocks.quicken(model)
    return model


def four_bits() -> BitsAndBytesConfig:
    """As in the paper of QLoRA: NF4, whose scales are quantised too, and arithmetic in bf16."""
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
