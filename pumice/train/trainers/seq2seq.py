"""Supervised training of a base that reads with one half and writes with the other. Knows no text."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

from pumice.records import Tokens
from pumice.train.trainers.load import load
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.tune import tune


class Trainer(Ours, Seq2SeqTrainer):
    """transformers' trainer, whose step is the mean over all its answers' tokens, however it is cut into batches."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum of the labels' losses over the labels of the whole step."""
        outputs = model(**inputs)
        labels = inputs["labels"]
        total = F.cross_entropy(outputs.logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
        count = (labels != -100).sum() if num_items_in_batch is None else num_items_in_batch
        loss = total / count
        return (loss, outputs) if return_outputs else loss


def columns(row: Tokens) -> dict[str, Any]:
    """What is read, and what is to be written: the labels lie behind the prompt, in one piece."""
    border = next(at for at, label in enumerate(row.labels) if label != -100)
    return {"input_ids": list(row.ids[:border]), "labels": list(row.labels[border:])}


def build(parts: Parts) -> Trainer:
    """A trainer of the recipe's weights on the data's own answers."""
    model = tune(load(parts, AutoModelForSeq2SeqLM), parts)
    arguments = Seq2SeqTrainingArguments(**parts.arguments, include_num_input_tokens_seen="non_padding")
    collator = DataCollatorForSeq2Seq(parts.tokenizer, model=model, label_pad_token_id=-100)
    rows = parts.dataset(columns)
    trainer = Trainer(model, arguments, train_dataset=rows, processing_class=parts.tokenizer, data_collator=collator)
    # Else transformers would divide the loss once more by the number of batches of a step.
    trainer.model_accepts_loss_kwargs = True
    return trainer
