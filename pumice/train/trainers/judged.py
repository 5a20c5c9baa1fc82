"""What the trainers of judged answers share: rows as prompt and answer, a start to measure from, steps that add up.

Knows no loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from pumice.records import Event, Tokens
from pumice.train.fast import losses, segments, unpadded
from pumice.train.fast.parts import pairs as cut
from pumice.train.methods import Lora
from pumice.train.trainers import sft
from pumice.train.trainers.load import load_causal
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts

START = "ref"
"""What TRL calls the frozen copy of an adapter."""


class Judged(Ours):
    """In front of a trainer of judged answers: a step is the mean over its rows, however it is cut into batches."""

    loss_is_scaled_for_ga = True
    in_parts = False
    _metrics: dict[str, dict[str, list[float]]]

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        """The ids are made already; TRL must not touch a row."""
        return dataset

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """The batches of a step, and how many sequences they hold."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(len(batch["input_ids"]) for batch in batches)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and back on a batch; where it is read end to end, part by part of its pairs."""
        if not self.in_parts:
            return super().training_step(model, inputs, num_items_in_batch)
        count = len(inputs["input_ids"]) if num_items_in_batch is None else num_items_in_batch
        found = []
        for pairs, part in cut(inputs):
            before = {name: len(values) for name, values in self._metrics["train"].items()}
            found.append(super().training_step(model, part, count))
            for name, values in self._metrics["train"].items():
                # One mean of this part, which is to weigh as much as its pairs do.
                if len(values) == before.get(name, 0) + 1:
                    values += values[-1:] * (pairs - 1)
        return torch.stack(found).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """This batch's part of the mean over the rows of the whole step."""
        assert not return_outputs
        loss: Any = super().compute_loss(model, inputs, return_outputs)
        return loss if num_items_in_batch is None else loss * (len(inputs["input_ids"]) / num_items_in_batch)

    def forget(self) -> None:
        """Drop the numbers of the rehearsal, which the first step would average in."""
        for told in self._metrics.values():
            told.clear()


def parted(row: Tokens) -> tuple[list[int], list[int]]:
    """The ids before the judged answer, and those of the answer: the first trained token is where it begins."""
    start = next(place for place, label in enumerate(row.labels) if label != -100)
    return list(row.ids[:start]), list(row.ids[start:])


def pair(row: Tokens) -> dict[str, Any]:
    """A pair as TRL's collator for preferences reads it."""
    assert row.rejected is not None
    prompt, chosen = parted(row)
    return {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": parted(row.rejected)[1]}


def lay_end_to_end(trainer: Any, start: PreTrainedModel | None, parts: Parts, pairs: bool) -> None:
    """On a CPU, let padded batches be read as rows end to end where the model can; of `pairs` a few at a time.

    `start` is the frozen copy that is measured from, if there is one.
    """
    if parts.cuda or not sft.lay_end_to_end(sft.bare(trainer.model), parts):
        return
    for model in filter(None, (sft.bare(trainer.model), start)):
        model.set_attn_implementation(segments.ATTENTION)
        if losses.plain_head(model):
            unpadded.quicken(model)
    trainer.in_parts = pairs


def frozen_start(model: Any, parts: Parts) -> PreTrainedModel | None:
    """A copy of the model as it starts, to measure from; None for an adapter, which can be taken off or copied."""
    if isinstance(model, PeftModel):
        return None
    start = load_causal(parts)
    start.requires_grad_(False)
    return start


def forget_new_adapter(model: Any, parts: Parts) -> None:
    """A new adapter starts as the bare base: without TRL's copy of it the base itself is measured from, and faster."""
    if isinstance(model, PeftModel) and parts.adapter is None:
        model.delete_adapter(START)


def tell_of_dropout(parts: Parts) -> None:
    """Say that dropout is off, where the recipe asks for some: TRL measures without it."""
    weights = parts.recipe.weights
    if isinstance(weights, Lora) and weights.dropout:
        text = f"{parts.recipe.way}.dropout is off: {parts.recipe.method} compares with its start, without chance."
        parts.tell(Event("note", {"text": text}))
