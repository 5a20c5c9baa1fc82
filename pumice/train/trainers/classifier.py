"""Loads a base with a new head that names classes or gives a score. Knows no method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from pumice.train.trainers.load import load
from pumice.train.trainers.parts import Parts


def load_classifier(parts: Parts, labels: Sequence[str]) -> PreTrainedModel:
    """The base with a new head: one output a class, or a single score where there are no `labels`.

    The tokenizer of `parts` pads from then on with what the model takes for padding.
    """
    parts.tokenizer.pad_token = padding(parts)
    settings: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"}
    if labels:
        settings = {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: at for at, label in enumerate(labels)},
            "problem_type": "single_label_classification",
        }
    kind = AutoModelForSequenceClassification
    model = load(parts, kind, **settings, pad_token_id=parts.tokenizer.pad_token_id)
    model.config.use_cache = False
    return model


def padding(parts: Parts) -> str:
    """The token to pad with: one that no row holds.

    The heads of models that read from left to right look at the last token that is not this one. Many bases pad with
    the token that ends an answer: what is looked at would then depend on what a row ends with.
    """
    tokenizer = parts.tokenizer
    held = parts.rows.used()
    own = [tokenizer.pad_token_id, tokenizer.unk_token_id, *tokenizer.all_special_ids, *tokenizer.added_tokens_decoder]
    rest = range(len(tokenizer) - 1, -1, -1)
    free = next(id_ for id_ in (*own, *rest) if id_ is not None and id_ not in held)
    return str(tokenizer.convert_ids_to_tokens(free))


def head(model: PreTrainedModel) -> Iterator[torch.nn.Parameter]:
    """The numbers of the head: all that the base itself does not have."""
    inside = f"{model.base_model_prefix}."
    return (one for name, one in model.named_parameters() if not name.startswith(inside))
