"""Reads a peft LoRA folder as pairs of matrices with their scale, and says which adapters are more than that.

This module knows neither GGUF nor how a merged model is stored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumice.engine.tensors import Array, Entry, entries, folder_entries
from pumice.errors import InputError, NotFoundError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

# What peft can add to plain low-rank pairs; each changes what the model computes.
_MORE = (
    "alora_invocation_tokens",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


@dataclass(frozen=True)
class Pair:
    """One adapted weight: it becomes `W + scale * B @ A`."""

    module: str
    """The module's name in the base, such as `model.layers.0.self_attn.q_proj`."""
    a: Entry
    """(rank, in)."""
    b: Entry
    """(out, rank)."""
    scale: float

    def delta(self) -> Array:
        """What is added to the weight, (out, in)."""
        scaled: Array = self.b.read() * np.float32(self.scale)
        return scaled @ self.a.read()


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration. Raises NotFoundError when the folder holds no adapter."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise NotFoundError(f"{folder} holds no adapter.", f"{name} is missing.", "Name a folder that peft saved.")
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except ValueError as error:
        raise InputError(f"{folder / CONFIG} is no JSON.", str(error), "Save the adapter again.") from error
    return dict(config)


def more_than_pairs(folder: Path) -> str | None:
    """Why the adapter is not a plain LoRA, as half a sentence; None when it is one."""
    config = read_config(folder)
    if config.get("peft_type") != "LORA":
        return f"it is of type {config.get('peft_type')}, not LORA"
    for name in _MORE:
        if config.get(name):
            return f"it uses {name}"
    if config.get("bias", "none") != "none":
        return "it trains biases"
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        return f"it starts by {config['init_lora_weights']}, which changes the base's own weights"
    odd = [entry.name for entry in entries(folder / WEIGHTS) if not _TENSOR.fullmatch(entry.name)]
    return f"it holds {odd[0]}" if odd else None


def pairs(folder: Path) -> Iterator[Pair]:
    """The adapter's pairs in the order of the file. Raises InputError for what `more_than_pairs` names."""
    reason = more_than_pairs(folder)
    if reason:
        raise InputError(
            f"The adapter {folder} cannot be taken apart: {reason}.", "Only plain LoRA can.", "Serve it unmerged."
        )
    config = read_config(folder)
    halves: dict[str, dict[str, Entry]] = {}
    for entry in entries(folder / WEIGHTS):
        match = _TENSOR.fullmatch(entry.name)
        assert match
        halves.setdefault(match[1], {})[match[2]] = entry
    for module, half in halves.items():
        if set(half) != {"A", "B"} or half["A"].shape[0] != half["B"].shape[1]:
            raise InputError(f"The adapter {folder} is broken at {module}.", "A and B do not fit.", "Save it again.")
        yield Pair(module, half["A"], half["B"], _scale(config, module, half["A"].shape[0]))


def fitting_pairs(adapter: Path, base: Path) -> list[Pair]:
    """The adapter's pairs. Raises InputError as well when one has no weight of its own and its size in the base."""
    shapes = {entry.name: entry.shape for entry in folder_entries(base)}
    if json.loads((base / "config.json").read_bytes()).get("tie_word_embeddings"):
        shapes.pop("lm_head.weight", None)
    found = list(pairs(adapter))
    for pair in found:
        shape, wanted = shapes.get(f"{pair.module}.weight"), (pair.b.shape[0], pair.a.shape[1])
        if shape is None:
            raise InputError(
                f"The adapter {adapter} changes {pair.module}, which the base does not hold as a weight of its own.",
                "Either it was trained on another base, or the base shares this weight with its embedding.",
                "Serve it unmerged, on the base that it was trained on.",
            )
        if shape != wanted:
            raise InputError(
                f"The adapter {adapter} does not fit the base at {pair.module}.",
                f"The base's weight is {shape}, the adapter's {wanted}.",
                "Use it with the base that it was trained on.",
            )
    return found


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = float(config["lora_alpha"])
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
