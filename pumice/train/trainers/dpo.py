"""DPO through TRL, on ids that are made already. Knows no chat template and no text."""

from __future__ import annotations

from typing import Any

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from pumice.records import Tokens
from pumice.train.methods import Dpo
from pumice.train.trainers import judged
from pumice.train.trainers.load import load_causal
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.tune import tune


class Trainer(judged.Judged, DPOTrainer):  # type: ignore[misc]
    """TRL's trainer, with a step that is the mean over its pairs."""

    metrics = frozenset({"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"})


def columns(row: Tokens) -> dict[str, Any]:
    """A pair as TRL's collator for preferences reads it."""
    return judged.pair(row)


def build(parts: Parts) -> Trainer:
    """A trainer of the recipe's weights on pairs, measured from where they start."""
    knobs = parts.recipe.knobs
    assert isinstance(knobs, Dpo)
    judged.tell_of_dropout(parts)
    model = tune(load_causal(parts), parts)
    arguments = DPOConfig(
        **parts.arguments,
        beta=knobs.beta,
        # Left alone, the collator cuts every row at 1,024 tokens.
        max_length=None,
        include_num_input_tokens_seen="non_padding",
    )
    start = judged.frozen_start(model, parts)
    trainer = Trainer(
        model,
        start,
        arguments,
        train_dataset=parts.dataset(columns),
        processing_class=parts.tokenizer,
    )
    judged.forget_new_adapter(model, parts)
    judged.lay_end_to_end(trainer, start, parts, pairs=True)
    return trainer
