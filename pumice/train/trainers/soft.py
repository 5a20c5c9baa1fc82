"""Readies what stands in front of every conversation, for the methods that train that. Knows peft, but no method."""

from __future__ import annotations

import json
from typing import Any

import torch
from peft import PeftModelForCausalLM, PromptLearningConfig
from torch import Tensor

from pumice.train.trainers.lora import old_names
from pumice.train.trainers.parts import Parts


def in_front(model: Any, config: PromptLearningConfig, parts: Parts) -> Any:
    """The model with new vectors or keys and values in front, or with those that go on, however many they are."""
    if parts.adapter is not None:
        settings = json.loads((parts.adapter / "adapter_config.json").read_bytes())
        config.num_virtual_tokens = settings["num_virtual_tokens"]
    with old_names():
        tuned = PeftModelForCausalLM(model, config)
        if parts.adapter is not None:
            # peft makes none trainable that it loads itself; into one that is there it loads weights alone.
            tuned.load_adapter(str(parts.adapter), "default", is_trainable=True)
    return tuned


def random_words(model: Any, count: int) -> Tensor:
    """So many random ids of the vocabulary."""
    return torch.randint(model.get_input_embeddings().num_embeddings, (count,), device=model.device)
