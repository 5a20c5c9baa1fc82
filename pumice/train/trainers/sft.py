"""Supervised training through TRL, on ids and labels that are made already. Knows no chat template and no text."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from pumice.bases.seq2seq import is_seq2seq
from pumice.records import Event, Tokens
from pumice.train.fast import losses, segments
from pumice.train.fast.parts import parts as cut
from pumice.train.trainers import seq2seq
from pumice.train.trainers.load import load_causal
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.tune import tune


class Trainer(Ours, SFTTrainer):
    """TRL's trainer, with the fast loss on a CPU."""

    fast_loss = in_parts = False

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and back on a batch; on a CPU part by part, whose losses and gradients add up to the batch's."""
        if not self.in_parts or num_items_in_batch is None:
            return self._train_on(model, inputs, num_items_in_batch)
        return torch.stack([self._train_on(model, part, num_items_in_batch) for part in cut(inputs)]).sum()

    def _train_on(self, model: Any, inputs: dict[str, Any], count: Tensor | int | None) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, count)  # type: ignore[no-untyped-call]
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum of the labels' losses over the labels of the whole step, whichever path computes it."""
        if not self.fast_loss:
            return super().compute_loss(  # type: ignore[no-untyped-call]
                model, inputs, return_outputs, num_items_in_batch
            )
        causal = bare(model)
        backbone: Any = causal.base_model
        wanted = inputs["labels"]
        without = {key: value for key, value in inputs.items() if key != "labels"}
        hidden = backbone(**without, use_cache=False).last_hidden_state
        head = causal.get_output_embeddings()  # type: ignore[no-untyped-call]
        total = losses.label_loss(hidden, head, wanted)
        count = (wanted[:, 1:] != -100).sum() if num_items_in_batch is None else num_items_in_batch
        if model.training:
            self._total_train_tokens += wanted.numel()
        return total / count


def bare(model: Any) -> PreTrainedModel:
    """The model inside peft's, with whatever peft has put into it."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    return inner


def columns(row: Tokens) -> dict[str, Any]:
    """A row as TRL's collator for language models reads it."""
    return {"input_ids": list(row.ids), "labels": list(row.labels)}


def build(parts: Parts) -> Ours:
    """A trainer of the recipe's weights on the data's own answers."""
    if is_seq2seq(parts.base.folder):
        return seq2seq.build(parts)
    model = load_causal(parts)
    packed = lay_end_to_end(model, parts)
    return build_sft(parts, tune(model, parts), packed)


def lay_end_to_end(model: PreTrainedModel, parts: Parts) -> bool:
    """Ready the model for rows that lie end to end in one sequence, if that can be; False where they are padded."""
    if not parts.recipe.packing:
        return False
    reason = segments.why_not_packed(model)
    if not parts.switches.packing.on:
        reason = parts.switches.packing.why
    if reason:
        parts.tell(Event("note", {"text": f"The rows are padded, not packed: {reason}. Slower, with the same result."}))
        return False
    model.set_attn_implementation("flash_attention_2" if parts.switches.flash.on else segments.ATTENTION)
    return True


def build_sft(parts: Parts, model: Any, packed: bool) -> Trainer:
    """A trainer of `model`, which is ready, on the rows of `parts`."""
    arguments = SFTConfig(
        **parts.arguments,
        max_length=None,
        packing=False,
        padding_free=packed,
        include_num_input_tokens_seen="all" if packed else "non_padding",
        # Everything is made already; TRL must not touch a row.
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = Trainer(model, arguments, train_dataset=parts.dataset(columns), processing_class=parts.tokenizer)
    trainer.in_parts = packed and parts.fast and not trainer.aux_loss_enabled
    trainer.fast_loss = trainer.in_parts and losses.plain_head(bare(model))
    return trainer
