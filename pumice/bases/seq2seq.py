"""Models that read a text with one half and write the answer with the other, as their config.json tells.

Knows no weights.
"""

from __future__ import annotations

from pathlib import Path

from pumice.bases.describe import read_config

ARCHITECTURES = frozenset({"T5ForConditionalGeneration", "MT5ForConditionalGeneration"})
WAYS = ("lora", "rslora", "dora", "full")
"""Weights of such a model that can be trained."""


def is_seq2seq(folder: Path) -> bool:
    """Whether the folder holds such a model, as flan-t5 is one."""
    return bool(ARCHITECTURES & set(read_config(folder)["architectures"] or ()))
