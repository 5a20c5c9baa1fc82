"""Weights that were made elsewhere, as a version of the registry: a whole model, or an adapter over its base.

Nothing is copied before it is known to be usable, and nothing is copied that is not read: no pickle, no code.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pumice.bases import resolve
from pumice.bases.describe import check_weights, describe, is_complete, read_config, read_template
from pumice.config import Home
from pumice.engine import adapter, merge
from pumice.engine.tensors import entries, folder_entries
from pumice.errors import InputError, NotFoundError
from pumice.records import Base, Model
from pumice.registry.card import IMPORT
from pumice.registry.models import Registry
from pumice.registry.start import as_base
from pumice.store.files import write_atomic
from pumice.train.artifact import FROM_BASE, RECORD
from pumice.train.rules import Name

METHOD = "import"
READ = (".safetensors", ".safetensors.index.json")
"""Endings of the weights."""
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""Any one of them is a tokenizer."""
SERVED = {"LORA", "IA3", *adapter.SOFT}
"""peft's types of the adapters that engines here answer with."""
WHOLE = ("config.json", "generation_config.json", "tokenizer.model", "vocab.json", "merges.txt", *FROM_BASE)
"""What is taken over of a whole model beside its weights."""


def import_model(
    folder: Path, name: str, registry: Registry, home: Home, job_id: str | None, base: str | None = None
) -> Model:
    """Register a folder of Hugging Face files as the next version of `name`; the folder stays as it is.

    A folder with an adapter_config.json is an adapter over `base`, or else over the base that the file names. Another
    is a whole model; it is compared with `base` if that is given. Raises `InputError` for what cannot be used.
    """
    check_name(name)
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {folder}.", fix="Name a folder of Hugging Face files.")
    home.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.cache) as temporary:
        part = Path(temporary) / "model"
        part.mkdir()
        is_adapter = (folder / adapter.CONFIG).exists()
        prepare = prepare_adapter if is_adapter else prepare_whole
        found = prepare(folder, name, part, registry, home, base)
        return registry.adopt(name, METHOD, part, found, is_adapter, job_id)


def check_name(name: str) -> None:
    """Raise `InputError` for a name that no recipe could have."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        rule = "letters, digits, dots, dashes and underscores, 63 at most, a letter or digit first"
        raise InputError(f"name: {name!r} cannot be a model's name.", f"It must be {rule}.") from error


def prepare_whole(folder: Path, name: str, part: Path, registry: Registry, home: Home, base: str | None) -> Base:
    """Lay a whole model ready in `part`; returns what it is compared with: `base`, or itself where none is named."""
    check_weights(folder)
    given = find_base(base, registry, home) if base else None
    if any((folder / each).exists() for each in TOKENIZER):
        # Resolving writes what is missing, a tokenizer.json for example, beside links to what is there.
        copy(resolve.resolve(str(folder), home).folder, WHOLE, part)
    elif given:
        copy(folder, WHOLE, part)
        copy_tokenizer(given, part)
    else:
        raise InputError(
            f"{folder} has no tokenizer.",
            f"One of {', '.join(TOKENIZER)} must be there, or a base whose tokenizer the model was trained with.",
            "Name the base: --base BASE.",
        )
    if not is_complete(part):
        raise InputError(f"{folder / 'config.json'} does not say the model's sizes.", fix="Save the model again.")
    own = describe(part, name, f"{IMPORT}{folder}")
    if given is None:
        return own
    if (given.architecture, given.vocabulary) != (own.architecture, own.vocabulary):
        raise InputError(
            f"{folder} was not made from the base {given.name}.",
            f"It is a {own.architecture} with {own.vocabulary:,} tokens; the base a {given.architecture} with "
            f"{given.vocabulary:,}.",
            "Name the base that it was made from, or none.",
        )
    return given


def prepare_adapter(folder: Path, name: str, part: Path, registry: Registry, home: Home, base: str | None) -> Base:
    """Lay an adapter ready in `part`, with its base's tokenizer; returns that base."""
    if not (folder / adapter.WEIGHTS).exists() and (pickles := sorted(folder.glob("adapter_model.*"))):
        raise InputError(
            f"{folder} has its weights as a pickle ({pickles[0].name}).",
            "Reading a pickle can run any code that is in it, so Pumice reads safetensors only.",
            "Save it where you trust it: model.save_pretrained(new, safe_serialization=True).",
        )
    config = adapter.read_config(folder)
    check_kind(folder, config)
    named = base or config.get("base_model_name_or_path")
    if not named:
        raise InputError(f"{folder / adapter.CONFIG} names no base.", fix="Name it: --base BASE.")
    found = find_base(str(named), registry, home)
    check_base(folder, found, config)
    for each in (adapter.CONFIG, adapter.WEIGHTS):
        shutil.copy(folder / each, part / each)
    write_atomic(part / adapter.CONFIG, json.dumps({**config, "base_model_name_or_path": found.name}, indent=2) + "\n")
    copy_tokenizer(found, part)
    hashes = {"base_sha256": found.sha256, "template_sha256": found.template_sha256}
    write_atomic(part / RECORD, json.dumps({"base": found.name, **hashes, "method": METHOD}, indent=2) + "\n")
    return found


def check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise `InputError` for an adapter that no engine here answers with."""
    kind = config.get("peft_type")
    if kind not in SERVED:
        raise InputError(f"{folder} is a {kind} adapter.", f"Those of {', '.join(sorted(SERVED))} can be imported.")
    if kind in adapter.SOFT and config.get("task_type") != "CAUSAL_LM":
        raise InputError(
            f"{folder} is an adapter for the task {config.get('task_type')}.",
            "What stands in front of a conversation is read by a model that writes: CAUSAL_LM.",
        )


def find_base(name: str, registry: Registry, home: Home) -> Base:
    """A registered version or any base. Raises `NotFoundError` that says how to name another."""
    try:
        return as_base(registry.find(name), registry, home) if registry.has(name) else resolve.resolve(name, home)
    except NotFoundError as error:
        fix = f"{error.fix} Name the base that the weights belong to: --base BASE."
        raise NotFoundError(error.what, error.why, fix.strip()) from error


def check_base(folder: Path, base: Base, config: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the adapter fits `base`: its shapes, the hash and the template that it came with."""
    record = folder / RECORD
    if record.exists() and (sha256 := json.loads(record.read_text("utf-8")).get("base_sha256")) != base.sha256:
        raise InputError(
            f"{folder} was trained on another base than {base.name}.",
            f"Its base has the hash {str(sha256)[:12]}, this one {base.sha256[:12]}.",
            "Name the base that it was trained on: --base BASE.",
        )
    template = read_template(folder)
    if template and template.strip() != read_template(base.folder).strip():
        raise InputError(
            f"{folder} was trained with another chat template than {base.name} has.",
            "An adapter is asked in its base's form, which it never saw.",
            "Merge it into its base and import the whole model, with its tokenizer.",
        )
    if config["peft_type"] in adapter.SOFT:
        check_front(folder, base, config)
    elif merge.why_not(folder) is None:
        check_sizes(folder, base)


def check_sizes(folder: Path, base: Base) -> None:
    """Raise `InputError` unless each weight that the adapter changes is there, with its size."""
    shapes = {entry.name: entry.shape for entry in folder_entries(base.folder)}
    for module, size in merge.sizes(folder).items():
        there = shapes.get(f"{module}.weight")
        # A tied output layer has no weight of its own in the base's files.
        if not adapter.fits(there, size) and not (there is None and module == "lm_head"):
            raise InputError(
                f"{folder} does not fit the base {base.name} at {module}.",
                f"The base has {'no such weight' if there is None else there}, the adapter's is {adapter.told(size)}.",
                "Name the base that it was trained on: --base BASE.",
            )


def check_front(folder: Path, base: Base, config: Mapping[str, Any]) -> None:
    """Raise `InputError` unless what the adapter puts in front has the base's width, or that of its keys and values."""
    (entry,) = entries(folder / adapter.WEIGHTS)
    wide = base.hidden_size
    if config["peft_type"] == "PREFIX_TUNING":
        wide = 2 * base.layers * width_of_keys(base)
    if entry.shape != (config["num_virtual_tokens"], wide):
        raise InputError(
            f"{folder} does not fit the base {base.name}.",
            f"It holds {entry.shape}, and this base needs ({config['num_virtual_tokens']}, {wide}).",
            "Name the base that it was trained on: --base BASE.",
        )


def width_of_keys(base: Base) -> int:
    """Numbers of a key, over all of its heads."""
    config = read_config(base.folder)
    heads = config.get("num_attention_heads")
    if heads is None:
        return base.hidden_size
    return int((config.get("num_key_value_heads") or heads) * (config.get("head_dim") or base.hidden_size // heads))


def copy(source: Path, names: Sequence[str], target: Path) -> None:
    """Copy the weights, and of other files those with these names."""
    for path in sorted(source.iterdir()):
        if path.is_file() and (path.name in names or path.name.endswith(READ)):
            shutil.copy(path, target / path.name)


def copy_tokenizer(base: Base, target: Path) -> None:
    """Give a folder the tokenizer and the template of `base`."""
    for name in FROM_BASE:
        if (base.folder / name).is_file():
            shutil.copy(base.folder / name, target / name)
