"""What a folder that peft saved says of itself: its kind, and how much of the window it takes. Reads no weights.

This module knows no engine, and not what any kind computes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.engine.tensors import folder_entries
from pumice.errors import InputError, NotFoundError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SOFT = {"PROMPT_TUNING": "prompt", "P_TUNING": "p-tuning", "PREFIX_TUNING": "prefix"}
"""peft's types that put something in front of a conversation, and Pumice's words for them."""

Size = tuple[int | None, int | None]
"""Outputs and inputs of a weight; None where any number will do."""


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


def kind(folder: Path) -> str:
    """The weights that were trained, as a recipe names them (a qlora is a lora); peft's own word for any other."""
    config = read_config(folder)
    name = str(config.get("peft_type"))
    if name == "LORA":
        return next((word for word in ("dora", "rslora") if config.get(f"use_{word}")), "lora")
    return {**SOFT, "IA3": "ia3"}.get(name, name)


def fingerprint(folder: Path) -> str:
    """Changes with the adapter; the weights are known by place, size and time, not read."""
    status = (folder / WEIGHTS).stat()
    known = json.dumps([str(folder.resolve()), status.st_size, status.st_mtime_ns, status.st_ino])
    return hashlib.sha256(known.encode() + (folder / CONFIG).read_bytes()).hexdigest()[:16]


def in_front(folder: Path) -> int:
    """Positions of the window that it takes, in front of every conversation."""
    return int(read_config(folder).get("num_virtual_tokens") or 0)


def check_sizes(folder: Path, base: Path, sizes: Mapping[str, Size]) -> None:
    """Raises InputError unless each module that the adapter changes has a weight of that size in `base`."""
    shapes = {entry.name: entry.shape for entry in folder_entries(base)}
    if json.loads((base / "config.json").read_bytes()).get("tie_word_embeddings"):
        shapes.pop("lm_head.weight", None)
    for module, size in sizes.items():
        shape = shapes.get(f"{module}.weight")
        if shape is None:
            raise InputError(
                f"The adapter {folder} changes {module}, which the base does not hold as a weight of its own.",
                "Either it was trained on another base, or the base shares this weight with its embedding.",
                "Serve it unmerged, on the base that it was trained on.",
            )
        if not fits(shape, size):
            raise InputError(
                f"The adapter {folder} does not fit the base at {module}.",
                f"The base's weight is {shape}, the adapter's {told(size)}.",
                "Use it with the base that it was trained on.",
            )


def fits(shape: tuple[int, ...] | None, size: Size) -> bool:
    """Whether a weight of this shape can be changed by an adapter of this size."""
    return shape is not None and len(shape) == 2 and all(b in (None, a) for a, b in zip(shape, size, strict=True))


def told(size: Size) -> str:
    """The size as a user reads it: `(64, 128)`, `(any, 128)`."""
    return f"({', '.join('any' if each is None else str(each) for each in size)})"
