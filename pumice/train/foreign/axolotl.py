"""Axolotl's YAML. Source: its configuration reference, version 0.12. Knows no data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.errors import InputError
from pumice.train.foreign.dialect import Reading, beside

NAME = "Axolotl"
MARKS = frozenset({"base_model", "micro_batch_size", "datasets"})
"""Keys that tell its files."""

SAME: Mapping[str, str] = {
    "base_model": "model",
    "num_epochs": "epochs",
    "learning_rate": "learning_rate",
    "micro_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "sequence_len": "max_length",
    "warmup_steps": "warmup_steps",
    "seed": "seed",
    "sample_packing": "packing",
}
IGNORED: Mapping[str, str] = {
    "chat_template": "the base's own chat template is used, in training and in serving",
    "trust_remote_code": "code of a model is never run",
    "output_dir": "results are registered by name: pumice models list",
    "warmup_ratio": "say warmup_steps",
    "lr_scheduler": "the rate falls to 0 in a straight line",
    "optimizer": "AdamW is used",
    "max_steps": "say epochs",
    "save_steps": "a fraction or a count there; say save_steps, a count, here",
    "val_set_size": "rows are held out by what they say; or name a file: validation",
    "bf16": "precision is chosen for the machine",
    "fp16": "precision is chosen for the machine",
    "tf32": "precision is chosen for the machine",
    "flash_attention": "it is used on a GPU where it is installed",
    "gradient_checkpointing": "it is switched on where memory is short",
    "load_in_8bit": "bases train in 16 or 32 bits, or with qlora in 4",
    "special_tokens": "the base's own are used",
    "rl_beta": "it is of dpo and kto",
    "rl": "a reward model is trained",
    "datasets": "the data is that of pretraining_dataset",
}
METHODS = frozenset({"dpo", "kto", "orpo", "grpo"})
LORA: Mapping[str, str] = {"lora_r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout"}


def read(reading: Reading) -> None:
    """Fill the recipe. Raises `InputError` for a method or weights that have no equal."""
    reading.rename(SAME)
    weights = _weights(reading)
    method = _method(reading, weights)
    reading.put("method", method)
    if method != weights:
        reading.put(f"{method}.weights", weights)
    if method == "kto":
        reading.rename(
            {"kto_desirable_weight": "kto.desirable_weight", "kto_undesirable_weight": "kto.undesirable_weight"}
        )
    if method == "orpo":
        reading.rename({"orpo_alpha": "orpo.beta"})
    if method in ("dpo", "kto"):
        reading.rename({"rl_beta": f"{method}.beta"})
    if method == "rlhf":
        reading.notes.append("grpo became rlhf; rlhf.reward must name a scorer or a registered reward model.")
    if "max_length" in reading.recipe:
        reading.put("too_long", "drop")
    _data(reading)
    reading.finish(IGNORED)


def _method(reading: Reading, weights: str) -> str:
    if reading.take("reward_model"):
        return "reward"
    kind = reading.word("rl")
    if not kind:
        return "cpt" if reading.given.get("pretraining_dataset") else weights
    if kind not in METHODS:
        raise InputError(f"rl: {kind} has no equal here.", f"Known are {', '.join(sorted(METHODS))}.")
    return "rlhf" if kind == "grpo" else kind


def _weights(reading: Reading) -> str:
    """The weights that are trained, with their table."""
    kind = reading.take("adapter")
    if kind is None:
        return "full"
    if kind not in ("lora", "qlora"):
        raise InputError(f"adapter: {kind} has no equal here.", "Known are lora and qlora, or none for full.")
    kind = "qlora" if reading.take("load_in_4bit") else kind
    name = reading.refine(kind, {"peft_use_dora": "dora", "peft_use_rslora": "rslora"})
    for theirs, ours in LORA.items():
        if (value := reading.take(theirs)) is not None:
            reading.put(f"{name}.{ours}", value)
    every, targets = reading.take("lora_target_linear"), reading.take("lora_target_modules")
    if targets and targets != "all-linear" and not every:
        reading.put(f"{name}.targets", targets if isinstance(targets, list) else [targets])
    return name


def _data(reading: Reading) -> None:
    """The first file or hub id of the data sets."""
    key = "pretraining_dataset" if reading.given.get("pretraining_dataset") else "datasets"
    sets = reading.take(key, [])
    files = [file for each in (sets if isinstance(sets, list) else [sets]) for file in _files(each)]
    if not files:
        fault = f"{key} names no file." if sets else f"{key} is missing."
        raise InputError(fault, "A recipe names the file that it trains on.", "Name one data set.")
    first, *others = files
    if others:
        reading.left_out[key] = f"only {first} is taken; put the rows of {', '.join(others)} into it"
    reading.put("data", beside(first, reading.folder))
    if not Path(reading.recipe["data"]).exists():
        reading.notes.append(f"{first} is no file here; a data set of the hub must be saved as one first.")


def _files(entry: Any) -> list[str]:
    """A data set's files, or its hub id; a plain word is a file itself."""
    named = (entry.get("data_files") or entry.get("path")) if isinstance(entry, Mapping) else entry
    return [str(each) for each in (named if isinstance(named, list) else [named]) if each]
