"""ORPO, on ids that are made already; TRL's own, still an experiment there, makes ids itself.

Knows no chat template and no text.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers import TrainingArguments
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from pumice.records import Tokens
from pumice.train.methods import Orpo
from pumice.train.trainers import judged
from pumice.train.trainers.load import load_causal
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.sft import bare
from pumice.train.trainers.tune import tune


class Odds(transformers.Trainer):
    """The loss of Hong et al. 2024 (arXiv:2403.07691, equations 1 and 4 to 7) on batches of TRL's collator."""

    def __init__(self, model: Any, beta: float, **given: Any) -> None:
        super().__init__(model, **given)
        self.beta = beta
        self._metrics: dict[str, dict[str, list[float]]] = {"train": defaultdict(list), "eval": defaultdict(list)}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The mean over the batch's pairs: what the chosen answer costs, and the odds against it."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        sequences = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        found: Tensor = model(**sequences, labels=labels, use_cache=False, fused_lm_head=True).log_probs
        # The mean over an answer's tokens, as everywhere in the paper; the first half of a batch was chosen.
        chosen, rejected = (found.sum(1) / (labels[:, 1:] != -100).sum(1)).chunk(2)
        odds = log_odds(chosen) - log_odds(rejected)
        self.keep(chosen.detach(), rejected.detach(), odds.detach())
        loss: Tensor = (-chosen - self.beta * F.logsigmoid(odds)).mean()
        return loss

    def keep(self, chosen: Tensor, rejected: Tensor, odds: Tensor) -> None:
        """Remember the pairs' numbers until the step is told, under TRL's names."""
        kept = self._metrics["train" if self.model is not None and self.model.training else "eval"]
        for name, values in (
            ("rewards/chosen", self.beta * chosen),
            ("rewards/rejected", self.beta * rejected),
            ("rewards/margins", self.beta * (chosen - rejected)),
            ("rewards/accuracies", (chosen > rejected).float()),
            ("log_odds_chosen", odds),
        ):
            kept[name] += values.tolist()

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor, None, None]:
        """The loss alone."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """A step's numbers with the means over its pairs."""
        kept = self._metrics["train"]
        logs.update({name: sum(values) / len(values) for name, values in kept.items()})
        kept.clear()
        super().log(logs, start_time)


class Trainer(judged.Judged, Odds):
    """ORPO with a step that is the mean over its pairs."""

    metrics = frozenset(
        {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "log_odds_chosen"}
    )


def log_odds(likelihood: Tensor) -> Tensor:
    """log(p / (1 - p)) of log-likelihoods; p is kept from being 1, whose odds no number holds."""
    below = likelihood.float().clamp(max=-1e-6)
    return below - torch.log(-torch.expm1(below))


def columns(row: Tokens) -> dict[str, Any]:
    """A pair as TRL's collator for preferences reads it."""
    return judged.pair(row)


def build(parts: Parts) -> Trainer:
    """A trainer of the recipe's weights on pairs, which needs nothing to measure from."""
    knobs, tokenizer = parts.recipe.knobs, parts.tokenizer
    assert isinstance(knobs, Orpo)
    model = tune(load_causal(parts), parts)
    add_fused_lm_head(bare(model))
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    arguments = TrainingArguments(
        **parts.arguments, include_num_input_tokens_seen="non_padding", remove_unused_columns=False
    )
    trainer = Trainer(
        model,
        knobs.beta,
        args=arguments,
        data_collator=DataCollatorForPreference(padding),
        train_dataset=parts.dataset(columns),
        processing_class=tokenizer,
    )
    judged.lay_end_to_end(trainer, None, parts, pairs=True)
    return trainer
