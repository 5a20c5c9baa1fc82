"""The folder that training leaves behind, beside the weights: tokenizer, template, recipe, and what it was made from.

Does not know how weights are written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from pumice.data.render.tokenizer import read_tokenizer
from pumice.engine import adapter as adapters
from pumice.engine import merge
from pumice.errors import InputError
from pumice.records import Base
from pumice.store.files import write_atomic
from pumice.train.recipe import Recipe, write_recipe

RECORD = "pumice.json"
OF_CLASSIFIERS = ("architectures", "id2label", "label2id", "pad_token_id", "problem_type")
"""Keys of a classifier's config.json that its base's does not have, or has otherwise."""
SAME = {"qlora": "lora"}
"""Weights whose adapters are those of others."""
FROM_BASE = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


def describe(folder: Path, recipe: Recipe, base: Base) -> None:
    """Write all but the weights into `folder`."""
    for name in FROM_BASE:
        if (base.folder / name).is_file():
            shutil.copy(base.folder / name, folder / name)
    if not recipe.makes_adapter:
        _restore_config(folder, base, OF_CLASSIFIERS if recipe.knobs.classifier else ())
    if recipe.knobs.classifier:
        _pad_as_the_model(folder)
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
    """Whether training may go on from `adapter`. Raises `InputError` for another base or kind, and for pickles."""
    if not recipe.makes_adapter:
        raise InputError(
            f"method: {recipe.method} cannot go on from an adapter.",
            fix="Write `start: merge` to train the base with that adapter merged into it.",
        )
    if not (adapter / adapters.WEIGHTS).is_file():
        raise InputError(
            f"{adapter} has no {adapters.WEIGHTS}.", "Weights are read from safetensors only, never from a pickle."
        )
    check_way(adapter, recipe)
    if not (adapter / RECORD).is_file():
        return
    record = json.loads((adapter / RECORD).read_text())
    if record["base_sha256"] != base.sha256:
        raise InputError(
            f"The adapter {adapter} was trained on {record['base']}, and {base.name} is another base.",
            f"Its base has the hash {record['base_sha256'][:12]}, this one {base.sha256[:12]}.",
            "Start from the base that it was trained on.",
        )


def check_way(adapter: Path, recipe: Recipe) -> None:
    """Raise `InputError` unless the adapter is of the kind that the recipe trains and can go on."""
    made = adapters.kind(adapter)
    if made == "p-tuning":
        raise InputError(
            "A p-tuning version cannot be trained on.",
            "The network that wrote its vectors is left out once they are made.",
            "Train it again with all the rows, or use `method: prompt`, whose vectors can go on.",
        )
    if made != SAME.get(recipe.way, recipe.way):
        key = "method" if recipe.way == recipe.method else f"{recipe.method}.weights"
        mergeable = merge.why_not(adapter) is None
        raise InputError(
            f"{key}: {recipe.way} cannot go on from a {made} adapter.",
            "What it would train is not in there.",
            f"Write {key}: {made}" + (", or `start: merge` to train the base with it merged in." if mergeable else "."),
        )


def _restore_config(folder: Path, base: Base, made: Sequence[str]) -> None:
    """The base's own configuration instead of what training made of it (`use_cache` off, other special tokens).

    The keys in `made` stay as training made them.
    """
    config = json.loads((base.folder / "config.json").read_text())
    trained = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": trained["dtype"]}
    kept |= {key: trained[key] for key in made if key in trained}
    write_atomic(folder / "config.json", json.dumps(kept, indent=2) + "\n")
    # A classifier has it, too: it may be what says which tokens end an answer, and so how a conversation is rendered.
    generation = "generation_config.json"
    (folder / generation).unlink(missing_ok=True)
    if (base.folder / generation).is_file():
        shutil.copy(base.folder / generation, folder / generation)


def _pad_as_the_model(folder: Path) -> None:
    """Have whoever loads the tokenizer pad behind, and with the token that the model takes for padding."""
    pad = read_tokenizer(folder).id_to_token(json.loads((folder / "config.json").read_text())["pad_token_id"])
    for name, settings in (
        ("tokenizer_config.json", {"pad_token": pad, "padding_side": "right"}),
        ("special_tokens_map.json", {"pad_token": pad}),
    ):
        path = folder / name
        if path.is_file():
            changed = json.loads(path.read_text()) | settings
            write_atomic(path, json.dumps(changed, indent=2, ensure_ascii=False) + "\n")
