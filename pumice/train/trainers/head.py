"""Trains a new classification head, and on demand the top blocks under it, with cross entropy. Knows no text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedModel, TrainingArguments

from pumice.records import Tokens
from pumice.train.methods import Head
from pumice.train.trainers.classifier import head, load_classifier
from pumice.train.trainers.last_layers import top
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts


class Trainer(Ours):
    """transformers' trainer, whose loss counts rows over the whole step."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum of the rows' losses over the rows of the whole step; transformers' own is a mean over each batch."""
        labels = inputs["labels"]
        outputs = model(**{key: value for key, value in inputs.items() if key != "labels"})
        total = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="sum")
        loss = total / (len(labels) if num_items_in_batch is None else num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def build(parts: Parts) -> Trainer:
    """A trainer of a new head for the classes that the rows have."""
    knobs = parts.recipe.knobs
    assert isinstance(knobs, Head)
    labels = sorted(parts.rows.labels())
    places = {label: at for at, label in enumerate(labels)}
    model = load_classifier(parts, labels)
    free(model, knobs.blocks)

    def columns(row: Tokens) -> dict[str, Any]:
        return {"input_ids": list(row.ids), "labels": places[str(row.label)]}

    return Trainer(
        model,
        TrainingArguments(**parts.arguments, include_num_input_tokens_seen="non_padding"),
        DataCollatorWithPadding(parts.tokenizer),
        train_dataset=parts.dataset(columns),
        processing_class=parts.tokenizer,
    )


def free(model: PreTrainedModel, blocks: int) -> None:
    """Leave everything as it is but the head and the top `blocks`, with the norm that follows on them.

    What lies below keeps nothing for the way back: torch does not where no number is trained.
    """
    model.requires_grad_(False)
    trained = [one for module in top(model, blocks) for one in module.parameters()] if blocks else []
    for one in [*head(model), *trained]:
        one.requires_grad_(True)
