"""Reads a peft LoRA folder as pairs of matrices with their scale, of a DoRA with the length of each output as well.

It says which adapters are more than that.

This module knows neither GGUF nor how a merged model is stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumice.engine.adapter import WEIGHTS, check_sizes, read_config
from pumice.engine.tensors import Array, Entry, entries
from pumice.errors import InputError

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
_TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_(A|B|magnitude_vector)(?:\.weight)?")


@dataclass(frozen=True)
class Pair:
    """One adapted weight: it becomes `W + scale * B @ A`, and then each of its rows gets its length."""

    module: str
    """The module's name in the base, such as `model.layers.0.self_attn.q_proj`."""
    a: Entry
    """(rank, in)."""
    b: Entry
    """(out, rank)."""
    scale: float
    length: Entry | None = None
    """(out,). Of a DoRA."""

    def applied(self, weight: Array) -> Array:
        """What becomes of the weight, (out, in). DoRA: Liu et al. 2024, arXiv:2402.09353, equation 5."""
        changed: Array = weight + self.delta()
        if self.length is None:
            return changed
        stretched: Array = changed * (self.length.read() / np.linalg.norm(changed, axis=1))[:, None]
        return stretched

    def delta(self) -> Array:
        """What is added to the weight, (out, in)."""
        scaled: Array = self.b.read() * np.float32(self.scale)
        return scaled @ self.a.read()


def more_than_pairs(folder: Path, lengths: bool = False) -> str | None:
    """Why the adapter is not a plain LoRA, or with `lengths` a DoRA, as half a sentence; None when it is one."""
    config = read_config(folder)
    if config.get("peft_type") != "LORA":
        return f"it is of type {config.get('peft_type')}, not LORA"
    for name in _MORE:
        if config.get(name) and not (lengths and name == "use_dora"):
            return f"it uses {name}"
    if config.get("bias", "none") != "none":
        return "it trains biases"
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        return f"it starts by {config['init_lora_weights']}, which changes the base's own weights"
    odd = [entry.name for entry in entries(folder / WEIGHTS) if not _TENSOR.fullmatch(entry.name)]
    return f"it holds {odd[0]}" if odd else None


def pairs(folder: Path, lengths: bool = False) -> Iterator[Pair]:
    """The adapter's pairs in the order of the file. Raises InputError for what `more_than_pairs` names."""
    reason = more_than_pairs(folder, lengths)
    if reason:
        raise InputError(
            f"The adapter {folder} cannot be taken apart: {reason}.", "Only plain LoRA can.", "Serve it unmerged."
        )
    config = read_config(folder)
    parts: dict[str, dict[str, Entry]] = {}
    for entry in entries(folder / WEIGHTS):
        match = _TENSOR.fullmatch(entry.name)
        assert match
        parts.setdefault(match[1], {})[match[2]] = entry
    for module, part in parts.items():
        a, b, length = (part.get(name) for name in ("A", "B", "magnitude_vector"))
        if a is None or b is None or a.shape[0] != b.shape[1] or (length and length.shape != b.shape[:1]):
            raise InputError(f"The adapter {folder} is broken at {module}.", "A and B do not fit.", "Save it again.")
        yield Pair(module, a, b, _scale(config, module, a.shape[0]), length)


def fitting_pairs(adapter: Path, base: Path) -> list[Pair]:
    """The adapter's pairs. Raises InputError as well when one has no weight of its own and its size in the base."""
    found = list(pairs(adapter))
    check_sizes(adapter, base, {pair.module: (pair.b.shape[0], pair.a.shape[1]) for pair in found})
    return found


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = float(config["lora_alpha"])
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
