"""Trains a head that scores answers, through TRL, on pairs of ids that are made already. Knows no text."""

from __future__ import annotations

from typing import Any

import datasets
import torch
from torch import Tensor
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from pumice.records import Tokens
from pumice.train.trainers.classifier import head, load_classifier
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.tune import tune


class Trainer(Ours, RewardTrainer):
    """TRL's trainer, which gets ids, and whose loss counts pairs over the whole step."""

    metrics = frozenset({"accuracy", "margin", "mean_reward"})
    # Of Trainer: the loss below is a part of the whole step's already.
    loss_is_scaled_for_ga = True

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        return dataset

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> int:
        """Pairs in the whole step: a batch lays the chosen answers in front of the rejected ones."""
        return sum(len(batch["input_ids"]) for batch in batch_samples) // 2

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """TRL's mean over a batch, as the batch's share of the step: the last batch of an epoch may be smaller."""
        pairs = len(inputs["input_ids"]) // 2
        share = pairs / num_items_in_batch if num_items_in_batch else 1
        loss, outputs = super().compute_loss(model, inputs, True)  # type: ignore[no-untyped-call]
        return (loss * share, outputs) if return_outputs else loss * share

    def forget(self) -> None:
        for counts in self._metrics.values():
            counts.clear()
        self._total_train_tokens = 0


def columns(row: Tokens) -> dict[str, Any]:
    """A pair as TRL's collator reads it."""
    assert row.rejected is not None
    return {"chosen_ids": list(row.ids), "rejected_ids": list(row.rejected.ids)}


def build(parts: Parts) -> Trainer:
    """A trainer of the recipe's weights, and of a new head over them, on pairs."""
    model = tune(load_classifier(parts, ()), parts)
    if not parts.recipe.weights.adapter:
        # Weights that are chosen by their place in the base leave the head out; peft trains it by itself.
        for one in head(model):
            one.requires_grad_(True)
    # It would leave out rows above max_length.
    arguments = RewardConfig(**parts.arguments, max_length=None, include_num_input_tokens_seen="non_padding")
    return Trainer(model, arguments, train_dataset=parts.dataset(columns), processing_class=parts.tokenizer)
