"""Folds an adapter into its base's weights: the result is a whole model that needs no adapter.

This module knows no engine and no torch.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pumice.engine import ia3, lora
from pumice.engine.adapter import SOFT, Size, check_sizes, read_config
from pumice.engine.tensors import Array, Entry, entries, folder_entries, write
from pumice.errors import InputError

Change = Callable[[Array], Array]


def merge(base: Path, adapter: Path, out: Path) -> None:
    """What the adapter makes of every weight, in the base's own dtype, with its config, tokenizer and template.

    `out` appears whole or not at all. Raises InputError for an adapter that cannot be merged or is of another base.
    """
    changed = changes(base, adapter)
    for entry in folder_entries(base):
        entry.check()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        part = Path(folder) / "model"
        part.mkdir(mode=0o755)
        for file in sorted(base.iterdir()):
            if file.suffix == ".safetensors":
                _merge_file(file, changed, part / file.name)
            elif file.is_file() and file.suffix in (".json", ".jinja", ".model", ".txt") and file.name != "base.json":
                shutil.copyfile(file, part / file.name)
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)


def why_not(adapter: Path) -> str | None:
    """Why the adapter cannot be merged, as half a sentence; None when it can."""
    kind = read_config(adapter).get("peft_type")
    if kind in SOFT:
        return "it stands in front of a conversation, and no weight of the base can hold that"
    return ia3.more_than_factors(adapter) if kind == "IA3" else lora.more_than_pairs(adapter, lengths=True)


def check(adapter: Path) -> None:
    """Raises InputError when the adapter cannot be merged."""
    reason = why_not(adapter)
    if reason:
        raise InputError(
            f"The adapter {adapter} cannot be merged: {reason}.",
            "Only what changes the base's own weights becomes a part of them: lora, rslora, qlora, dora and ia3.",
            "Serve it as it is: it answers under its name. For a whole model, train with lora.",
        )


def sizes(adapter: Path) -> dict[str, Size]:
    """The modules of the base that a mergeable adapter changes, with their sizes. Raises InputError as `check` does."""
    check(adapter)
    if read_config(adapter)["peft_type"] == "IA3":
        return {each.module: each.size for each in ia3.factors(adapter)}
    return {pair.module: (pair.b.shape[0], pair.a.shape[1]) for pair in lora.pairs(adapter, lengths=True)}


def changes(base: Path, adapter: Path) -> dict[str, Change]:
    """What becomes of each weight that the adapter changes, by its name in the base. Raises InputError."""
    check_sizes(adapter, base, sizes(adapter))
    if read_config(adapter)["peft_type"] == "IA3":
        found = ia3.factors(adapter)
        biases: dict[str, Change] = {f"{each.module}.bias": each.applied_to_bias for each in found}
        return biases | {f"{each.module}.weight": each.applied for each in found}
    return {f"{pair.module}.weight": pair.applied for pair in lora.pairs(adapter, lengths=True)}


def _merge_file(file: Path, changed: Mapping[str, Change], out: Path) -> None:
    held = entries(file)
    write(out, [(entry.name, entry.dtype, entry.shape) for entry in held], _values(held, changed))


def _values(held: list[Entry], changed: Mapping[str, Change]) -> Iterator[Array]:
    for entry in held:
        change = changed.get(entry.name)
        yield entry.read() if change is None else change(entry.read())
