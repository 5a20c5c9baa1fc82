"""Axolotl's YAML. Source: its configuration reference, version 0.12. Knows no data."""

from __future__ import annotations

from collections.abc import Mapping
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
    if (beta := reading.take("rl_beta")) is not None and method in ("dpo", "kto"):
        reading.put(f"{method}.beta", beta)
    if method == "rlhf":
        reading.notes.append("grpo became rlhf; rlhf.reward must name a scorer or a registered reward model.")
    if "max_length" in reading.recipe:
        reading.put("too_long", "drop")
    _data(reading)
    reading.finish(IGNORED)


def _method(reading: Reading, weights: str) -> str:
    kind = reading.take("rl")
    if reading.take("reward_model"):
        return "reward"
    if kind is None:
        return "cpt" if reading.given.get("pretraining_dataset") else weights
    if kind not in METHODS:
        raise InputError(f"rl: {kind} has no equal here.", f"Known are {', '.join(sorted(METHODS))}.")
    return "rlhf" if kind == "grpo" else str(kind)


def _weights(reading: Reading) -> str:
    """The weights that are trained, with their table."""
    kind = reading.take("adapter")
    if kind is None:
        return "full"
    if kind not in ("lora", "qlora"):
        raise InputError(f"adapter: {kind} has no equal here.", "Known are lora and qlora, or none for full.")
    four, dora, rslora = (reading.take(key) for key in ("load_in_4bit", "peft_use_dora", "peft_use_rslora"))
    name = "qlora" if kind == "qlora" or four else "dora" if dora else "rslora" if rslora else "lora"
    for theirs, ours in LORA.items():
        if (value := reading.take(theirs)) is not None:
            reading.put(f"{name}.{ours}", value)
    every, targets = reading.take("lora_target_linear"), reading.take("lora_target_modules")
    if targets and targets != "all-linear" and not every:
        reading.put(f"{name}.targets", targets if isinstance(targets, list) else [targets])
    return name


def _data(reading: Reading) -> None:
    """The first data set's file or hub id."""
    sets = reading.take("datasets") or reading.take("pretraining_dataset")
    reading.taken.add("pretraining_dataset")
    if not sets:
        raise InputError("datasets is missing.", "A recipe names the file that it trains on.", "Name one data set.")
    first, *others = sets if isinstance(sets, list) else [sets]
    if others:
        named = ", ".join(str(_file(each)) for each in others)
        reading.left_out["datasets"] = f"only the first is taken; put the rows of {named} into its file"
    file = str(_file(first))
    reading.put("data", beside(file, reading.folder))
    if not (reading.folder / file).exists():
        reading.notes.append(f"{file} is no file here; a data set of the hub must be saved as one first.")


def _file(entry: Any) -> Any:
    """A data set's file; a plain word is one itself."""
    if not isinstance(entry, Mapping):
        return entry
    files = entry.get("data_files")
    return (files[0] if isinstance(files, list) else files) or entry.get("path", "")
