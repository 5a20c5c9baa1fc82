"""Folds a LoRA adapter into its base's weights: the result is a whole model that needs no adapter.

This module knows no engine and no torch.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pumice.engine import lora
from pumice.engine.tensors import Array, Entry, entries, folder_entries, write


def merge(base: Path, adapter: Path, out: Path) -> None:
    """`W + alpha/r * B @ A` for every adapted weight, in the base's own dtype, with its config, tokenizer and template.

    `out` appears whole or not at all. Raises InputError for an adapter that is not plain LoRA or of another base.
    """
    adapted = {f"{pair.module}.weight": pair for pair in lora.fitting_pairs(adapter, base)}
    for entry in folder_entries(base):
        entry.check()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        part = Path(folder) / "model"
        part.mkdir(mode=0o755)
        for file in sorted(base.iterdir()):
            if file.suffix == ".safetensors":
                _merge_file(file, adapted, part / file.name)
            elif file.is_file() and file.suffix in (".json", ".jinja", ".model", ".txt") and file.name != "base.json":
                shutil.copyfile(file, part / file.name)
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)


def _merge_file(file: Path, adapted: dict[str, lora.Pair], out: Path) -> None:
    held = entries(file)
    write(out, [(entry.name, entry.dtype, entry.shape) for entry in held], _values(held, adapted))


def _values(held: list[Entry], adapted: dict[str, lora.Pair]) -> Iterator[Array]:
    for entry in held:
        pair = adapted.get(entry.name)
        yield entry.read() if pair is None else entry.read() + pair.delta()
