"""The folder that training leaves behind, beside the weights: tokenizer, template, recipe, and what it was made from.

Does not know how weights are written.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

from pumice.errors import InputError
from pumice.records import Base
from pumice.store.files import write_atomic
from pumice.train.recipe import Recipe, write_recipe

RECORD = "pumice.json"
WEIGHTS = "adapter_model.safetensors"
FROM_BASE = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


def describe(folder: Path, recipe: Recipe, base: Base) -> None:
    """Write all but the weights into `folder`."""
    for name in FROM_BASE:
        if (base.folder / name).is_file():
            shutil.copy(base.folder / name, folder / name)
    if not recipe.makes_adapter and not recipe.knobs.classifier:
        _restore_config(folder, base)
    write_recipe(recipe, folder / "recipe.yaml")
    record = {
        "base": base.name,
        "base_sha256": base.sha256,
        "template_sha256": base.template_sha256,
        "method": recipe.method,
        "versions": {name: version(name) for name in ("pumice", "torch", "transformers", "peft", "trl")},
    }
    write_atomic(folder / RECORD, json.dumps(record, indent=2) + "\n")


def check_adapter(adapter: Path, recipe: Recipe, base: Base) -> None:
    """Whether training may go on from `adapter`. Raises `InputError` for another base, pickles or a full method."""
    if not recipe.makes_adapter:
        raise InputError(
            f"method: {recipe.method} cannot go on from an adapter.",
            fix="Write `start: merge` to train the base with that adapter merged into it.",
        )
    if not (adapter / WEIGHTS).is_file():
        raise InputError(f"{adapter} has no {WEIGHTS}.", "Weights are read from safetensors only, never from a pickle.")
    if not (adapter / RECORD).is_file():
        return
    record = json.loads((adapter / RECORD).read_text())
    if record["base_sha256"] != base.sha256:
        raise InputError(
            f"The adapter {adapter} was trained on {record['base']}, and {base.name} is another base.",
            f"Its base has the hash {record['base_sha256'][:12]}, this one {base.sha256[:12]}.",
            "Start from the base that it was trained on.",
        )


def _restore_config(folder: Path, base: Base) -> None:
    """The base's own configuration instead of what training made of it (`use_cache` off, other special tokens)."""
    config = json.loads((base.folder / "config.json").read_text())
    trained = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": trained["dtype"]}
    write_atomic(folder / "config.json", json.dumps(kept, indent=2) + "\n")
    generation = "generation_config.json"
    (folder / generation).unlink(missing_ok=True)
    if (base.folder / generation).is_file():
        shutil.copy(base.folder / generation, folder / generation)
