"""LLaMA-Factory's YAML. Source: its `hparams` and `examples`, version 0.9. Knows no data but `dataset_info.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.errors import InputError
from pumice.train.foreign.dialect import Reading, beside
from pumice.train.rules import path_of

NAME = "LLaMA-Factory"
MARKS = frozenset({"model_name_or_path", "finetuning_type", "stage"})
"""Keys that tell its files."""

SAME: Mapping[str, str] = {
    "model_name_or_path": "model",
    "num_train_epochs": "epochs",
    "learning_rate": "learning_rate",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "cutoff_len": "max_length",
    "warmup_steps": "warmup_steps",
    "save_steps": "save_steps",
    "seed": "seed",
}
IGNORED: Mapping[str, str] = {
    "do_train": "training is what a recipe is for",
    "template": "the base's own chat template is used, in training and in serving",
    "trust_remote_code": "code of a model is never run",
    "output_dir": "results are registered by name: pumice models list",
    "warmup_ratio": "say warmup_steps",
    "lr_scheduler_type": "the rate falls to 0 in a straight line",
    "max_steps": "say epochs",
    "max_samples": "every row is trained on",
    "val_size": "rows are held out by what they say; or name a file: validation",
    "bf16": "precision is chosen for the machine",
    "fp16": "precision is chosen for the machine",
    "quantization_bit": "bases train in 16 or 32 bits, or with qlora in 4",
    "pref_beta": "it is of dpo, kto and orpo",
    "pref_loss": "it is of dpo",
}
METHODS: Mapping[str, str] = {"pt": "cpt", "dpo": "dpo", "kto": "kto", "rm": "reward", "ppo": "rlhf"}
LORA: Mapping[str, str] = {"lora_rank": "r", "lora_alpha": "alpha", "lora_dropout": "dropout"}


def read(reading: Reading) -> None:
    """Fill the recipe. Raises `InputError` for a stage or a kind of weights that has no equal."""
    reading.rename(SAME)
    weights = _weights(reading)
    stage = reading.word("stage", "sft")
    if stage not in {"sft", *METHODS}:
        raise InputError(f"stage: {stage} has no equal here.", f"Known are sft, {', '.join(METHODS)}.")
    loss = reading.take("pref_loss", "sigmoid") if stage == "dpo" else None
    method = "orpo" if loss == "orpo" else METHODS.get(stage, weights)
    if method == "dpo" and loss != "sigmoid":
        reading.left_out["pref_loss"] = f"{loss} has no equal; dpo's own loss is taken"
    reading.put("method", method)
    if method != weights:
        reading.put(f"{method}.weights", weights)
    if method in ("dpo", "kto", "orpo"):
        reading.rename({"pref_beta": f"{method}.beta"})
    if method == "kto":
        reading.rename({"kto_chosen_weight": "kto.desirable_weight", "kto_rejected_weight": "kto.undesirable_weight"})
    if method == "rlhf":
        reading.rename({"reward_model": "rlhf.reward"})
        reading.notes.append("ppo became rlhf with grpo; rlhf.reward must name a registered reward model or a scorer.")
    if (packing := reading.take("packing")) is not None:
        reading.put("packing", packing)
    if "max_length" in reading.recipe:
        reading.put("too_long", "truncate")
    _data(reading)
    reading.finish(IGNORED)


def _weights(reading: Reading) -> str:
    """The weights that are trained, with their table."""
    kind = reading.take("finetuning_type", "lora")
    if kind == "full":
        return "full"
    if kind == "freeze":
        layers = reading.take("freeze_trainable_layers", 2)
        if not isinstance(layers, int | float) or not float(layers).is_integer():
            raise InputError(
                f"freeze_trainable_layers: {layers} is no whole number.", fix="Write how many layers train."
            )
        reading.put("last-layers.blocks", abs(int(layers)))
        return "last-layers"
    if kind != "lora":
        raise InputError(f"finetuning_type: {kind} has no equal here.", "Known are lora, full and freeze.")
    if reading.given.get("quantization_bit") == 4:
        reading.taken.add("quantization_bit")
        kind = "qlora"
    name = reading.refine(kind, {"use_dora": "dora", "use_rslora": "rslora"})
    for theirs, ours in LORA.items():
        if (value := reading.take(theirs)) is not None:
            reading.put(f"{name}.{ours}", value)
    targets = reading.take("lora_target", "all")
    names = targets if isinstance(targets, list) else [each.strip() for each in str(targets).split(",")]
    if names != ["all"]:
        reading.put(f"{name}.targets", names)
    return name


def _data(reading: Reading) -> None:
    """The first data set's file, found through `dataset_info.json` where that lies in `dataset_dir`."""
    given = reading.take("dataset", [])
    listed = given if isinstance(given, list) else str(given).split(",")
    names = [name for each in listed if (name := str(each).strip())]
    if not names:
        raise InputError("dataset is missing.", "A recipe names the file that it trains on.", "Name one data set.")
    first, *others = names
    if others:
        reading.left_out["dataset"] = f"only {first} is taken; put the rows of {', '.join(others)} into its file"
    place = reading.folder / path_of(reading.word("dataset_dir", "data"))
    entry = _entry(place / "dataset_info.json", first)
    file = str(entry.get("file_name") or f"{first}.json")
    if not entry:
        reading.notes.append(f"{first} is in no dataset_info.json that was found: see that data names the right file.")
    elif not entry.get("file_name"):
        reading.notes.append(
            f"{first} has no file_name in dataset_info.json: save its rows as {file}, which data names."
        )
    reading.put("data", beside(file, place))


def _entry(info: Path, name: str) -> Mapping[str, Any]:
    """What `dataset_info.json` says of a data set; nothing where it has none. Raises `InputError`."""
    if not info.is_file():
        return {}
    why, fix = f"dataset: {name} is looked up in it.", f'Write {{"{name}": {{"file_name": "rows.json"}}}} into it.'
    try:
        sets = json.loads(info.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{info} cannot be read as JSON: {error}.", why, fix) from error
    entry = sets.get(name, {}) if isinstance(sets, dict) else None
    if not isinstance(entry, dict):
        raise InputError(f"{info} has no table of data sets, or {name} is none in it.", why, fix)
    return entry
