"""A classifier in the process that holds transformers: ids in, probabilities of classes or a score out.

Knows no text and no names of classes, only their order.
"""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

_TOKENS_AT_ONCE = 8192
"""Of all texts that are read together, padding included."""


class Classifier:
    """The model and the lock that lets one batch at a time near it."""

    def __init__(self, folder: Path) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype, local_files_only=True)
        assert isinstance(model, PreTrainedModel)
        self._model = model.to(device).eval()  # type: ignore[arg-type]
        self._device = device
        self._pad = model.config.get_text_config().pad_token_id
        self._lock = threading.Lock()

    def classify(self, batch: list[list[int]]) -> list[list[float]]:
        """One list a text: the probability of each class, or the one score of a model that has no classes."""
        # Texts of about one length together: what is padded is computed for nothing.
        order = sorted(range(len(batch)), key=lambda at: len(batch[at]))
        found: list[list[float]] = [[]] * len(batch)
        with self._lock, torch.inference_mode():
            for places in self._parts(order, batch):
                for at, values in zip(places, self._read([batch[at] for at in places]), strict=True):
                    found[at] = values
        return found

    def _parts(self, order: list[int], batch: list[list[int]]) -> list[list[int]]:
        """The places cut into groups that fit into memory; one by one for a model that has no token to pad with."""
        parts: list[list[int]] = []
        for at in order:
            fits = self._pad is not None and parts and (len(parts[-1]) + 1) * len(batch[at]) <= _TOKENS_AT_ONCE
            if fits:
                parts[-1].append(at)
            else:
                parts.append([at])
        return parts

    def _read(self, texts: list[list[int]]) -> list[list[float]]:
        longest = max(map(len, texts))
        # Padded behind, where a model that reads from left to right does not look; transformers' heads read the last
        # token that is not the padding one.
        padded = [[*ids, *[self._pad or 0] * (longest - len(ids))] for ids in texts]
        mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids in texts]
        ids, seen = (torch.tensor(rows, device=self._device) for rows in (padded, mask))
        logits = self._model(input_ids=ids, attention_mask=seen).logits.float()
        values: list[list[float]] = (logits.softmax(-1) if logits.shape[-1] > 1 else logits).tolist()
        return values
