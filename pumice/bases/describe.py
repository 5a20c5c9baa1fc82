"""What a folder of Hugging Face files says of itself, read without torch. Knows nothing of where folders come from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pumice.errors import InputError, NotFoundError
from pumice.records import Base
from pumice.store.files import sha256_folder_weights

_OTHER_NAMES = {
    "d_model": "hidden_size",
    "num_layers": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
    "num_heads": "num_attention_heads",
    "d_kv": "head_dim",
}
"""What T5 and its relatives call the sizes."""
_NEEDED = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")


def describe(folder: Path, name: str, source: str, sha256: str | None = None) -> Base:
    """The record of a folder; writes nothing. Hashes the weights unless their `sha256` is given.

    Raises `NotFoundError` for a missing folder and `InputError` for one that is no base.
    """
    check_weights(folder)
    config = read_config(folder)
    template = read_template(folder)
    return Base(
        name=name,
        folder=folder,
        sha256=sha256 or sha256_folder_weights(folder),
        source=source,
        architecture=(config.get("architectures") or [str(config.get("model_type", "unknown"))])[0],
        parameters=count_parameters(folder),
        hidden_size=config["hidden_size"],
        layers=config["num_hidden_layers"],
        vocabulary=config["vocab_size"],
        window=config["max_position_embeddings"],
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else "",
    )


def check_weights(folder: Path) -> None:
    """Raise unless the folder holds a config and safetensors weights."""
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {folder}.")
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise InputError(
            f"{folder} holds an adapter, not a base model.",
            "An adapter is a change to a base; only the base can be named here.",
            "Name the base it was trained on; its adapter_config.json says which.",
        )
    if (folder / "model_index.json").exists():
        raise InputError(
            f"{folder} holds a diffusion pipeline: it makes images.",
            "Pumice trains models that read and write text.",
            "Choose one that does: pumice models catalogue",
        )
    check_names(str(folder), sorted(each.name for each in folder.iterdir()))


def check_names(place: str, names: Sequence[str]) -> None:
    """Raise `InputError` unless these file names are those of a base: a config and safetensors."""
    if "config.json" not in names:
        raise InputError(f"{place} has no config.json.", "A base is a folder of Hugging Face files, or one .gguf.")
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    if pickles:
        raise InputError(
            f"{place} has its weights as a pickle ({pickles[0]}).",
            "Reading a pickle can run any code that is in it, so Pumice reads safetensors only.",
            "Take a safetensors version of the model, or convert it where you trust it: "
            "AutoModelForCausalLM.from_pretrained(old).save_pretrained(new).",
        )
    raise InputError(f"{place} has no *.safetensors file.", "The weights of a base are safetensors, or one .gguf.")


def is_complete(folder: Path) -> bool:
    """Whether the folder has a `tokenizer.json` and a config that names its sizes."""
    return (folder / "tokenizer.json").exists() and all(key in read_config(folder) for key in _NEEDED)


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json`, with the sizes of a text-and-image model's text part at the top."""
    config = read_json(folder / "config.json")
    sizes = {ours: config[theirs] for theirs, ours in _OTHER_NAMES.items() if theirs in config}
    return {**sizes, **config, **config.get("text_config", {}), "architectures": config.get("architectures")}


def read_template(folder: Path) -> str:
    """The chat template's text, "" for a base without one: `chat_template.jinja`, or the older place."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    template = read_json(path).get("chat_template", "") if path.exists() else ""
    if isinstance(template, list):  # several named templates, as a few older models have
        template = {each["name"]: each["template"] for each in template}.get("default", "")
    return str(template or "")


def count_parameters(folder: Path) -> int:
    """Numbers in the weights, from the headers of the safetensors files; tied weights are stored, and counted, once."""
    return sum(
        math.prod(tensor["shape"])
        for path in folder.glob("*.safetensors")
        for key, tensor in _read_header(path).items()
        if key != "__metadata__"
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises `InputError` when it is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.", "", "Download the model again.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object.", "", "Download the model again.")
    return value


def _read_header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length < size else b""
    try:
        values: dict[str, Any] = json.loads(header)
        end = max((each["data_offsets"][1] for key, each in values.items() if key != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a safetensors file.", "", "Download the model again.") from error
    if 8 + length + end != size:
        raise InputError(
            f"{path} is {size:,} bytes long where its header says {8 + length + end:,}.",
            "The download or copy was cut short.",
            "Download the model again.",
        )
    return values
