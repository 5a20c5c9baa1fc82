"""Readies LoRA. Knows peft."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from pumice.bases.seq2seq import is_seq2seq
from pumice.train.fast import products
from pumice.train.methods import Lora
from pumice.train.trainers.parts import Parts


def prepare(model: Any, parts: Parts) -> Any:
    """A new adapter on the base, or one that goes on."""
    return adapted(model, configure(parts), parts)


def configure(parts: Parts, **settings: Any) -> LoraConfig:
    """peft's words for the recipe's knobs, with `settings` of a relative of LoRA."""
    knobs = parts.recipe.weights
    assert isinstance(knobs, Lora) and knobs.alpha is not None
    return LoraConfig(
        r=knobs.r,
        lora_alpha=knobs.alpha,
        lora_dropout=knobs.dropout,
        target_modules=knobs.targets if isinstance(knobs.targets, str) else list(knobs.targets),
        task_type="CAUSAL_LM",
        **settings,
    )


def adapted(model: Any, config: Any, parts: Parts) -> Any:
    """The model with a new adapter of this configuration, or with the one whose training goes on."""
    if parts.recipe.knobs.classifier:
        # peft then trains the new head, too, and keeps it with the adapter.
        config.task_type = "SEQ_CLS"
    if is_seq2seq(parts.base.folder):
        config.task_type = "SEQ_2_SEQ_LM"
    with old_names():
        if parts.adapter is None:
            tuned = get_peft_model(model, config)
        else:
            tuned = PeftModel.from_pretrained(model, parts.adapter, is_trainable=True, local_files_only=True)
            # Where it finds no config.json under this name, peft asks the hub at every checkpoint.
            tuned.peft_config["default"].base_model_name_or_path = str(parts.base.folder)
    if parts.fast:
        products.quicken(tuned)
    return tuned


@contextmanager
def old_names() -> Iterator[None]:
    """peft reads a property that transformers has renamed; there is nothing that a user could do about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
