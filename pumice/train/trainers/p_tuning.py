"""Readies p-tuning. Knows peft."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from peft import PeftModelForCausalLM, PromptEncoderConfig
from safetensors.torch import load_file, save_file

from pumice.train.methods import PTuning
from pumice.train.trainers.lora import old_names
from pumice.train.trainers.parts import Parts

NETWORK = "network.safetensors"


class WithNetwork(PeftModelForCausalLM):
    """peft's model, whose checkpoints hold the network too: peft keeps what it wrote, and takes that for its input."""

    def save_pretrained(self, save_directory: str, *rest: Any, **settings: Any) -> None:
        """Write the vectors, and the network beside them."""
        super().save_pretrained(save_directory, *rest, **settings)
        save_file(self.prompt_encoder["default"].state_dict(), Path(save_directory) / NETWORK)

    def load_adapter(self, model_id: str | PathLike[str], adapter_name: str, *_: Any, **__: Any) -> None:
        """Read the network of a checkpoint."""
        self.prompt_encoder[adapter_name].load_state_dict(load_file(Path(model_id) / NETWORK))


def prepare(model: Any, parts: Parts) -> Any:
    """Vectors that a new network writes; what a finished one has written cannot go on."""
    knobs = parts.recipe.weights
    assert isinstance(knobs, PTuning) and parts.adapter is None
    config = PromptEncoderConfig(
        num_virtual_tokens=knobs.tokens, encoder_hidden_size=knobs.hidden, task_type="CAUSAL_LM"
    )
    with old_names():
        return WithNetwork(model, config)
