"""Reads a peft IA3 folder as one vector of factors a layer. This module knows no engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pumice.engine.adapter import WEIGHTS, Size, read_config
from pumice.engine.tensors import Array, Entry, entries

_TENSOR = re.compile(r"base_model\.model\.(.+)\.ia3_l")
_MORE = ("fan_in_fan_out", "modules_to_save")


@dataclass(frozen=True)
class Factors:
    """One layer: its outputs are multiplied, or its inputs are (Liu et al. 2022, arXiv:2205.05638)."""

    module: str
    values: Entry
    """(out, 1), or (1, in)."""

    @property
    def size(self) -> Size:
        """Of the weights that it fits."""
        out, into = self.values.shape
        return (None, into) if self.of_inputs else (out, None)

    @property
    def of_inputs(self) -> bool:
        """Whether it is the layer's input that is multiplied."""
        return self.values.shape[0] == 1

    def applied(self, weight: Array) -> Array:
        """What becomes of the weight, (out, in)."""
        return weight * self.values.read()

    def applied_to_bias(self, bias: Array) -> Array:
        """What becomes of the layer's bias, (out,)."""
        return bias if self.of_inputs else bias * self.values.read()[:, 0]


def more_than_factors(folder: Path) -> str | None:
    """Why the adapter is not a plain IA3, as half a sentence; None when it is one."""
    config = read_config(folder)
    if config.get("peft_type") != "IA3":
        return f"it is of type {config.get('peft_type')}, not IA3"
    used = [name for name in _MORE if config.get(name)]
    odd = [entry.name for entry in entries(folder / WEIGHTS) if not _TENSOR.fullmatch(entry.name)]
    return f"it uses {used[0]}" if used else f"it holds {odd[0]}" if odd else None


def factors(folder: Path) -> list[Factors]:
    """All of them, in the order of the file."""
    found = [(entry, _TENSOR.fullmatch(entry.name)) for entry in entries(folder / WEIGHTS)]
    return [Factors(match[1], entry) for entry, match in found if match]
