"""What Pumice changes about every trainer of TRL: it calls nobody, and one batch can be tried. Knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers

from pumice.records import Tokens
from pumice.train.trainers.parts import Columns


class Ours(transformers.Trainer):
    """In front of a TRL trainer in a class's bases."""

    metrics: frozenset[str] = frozenset()
    """Names of the numbers beside the loss that a step tells, as TRL logs them."""
    has_loss = True
    """Whether rows have a loss by themselves, before anything was said to them."""

    def _send_telemetry(self) -> None:
        """Nothing that happens here leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The card of a model is the registry's."""

    def _remove_unused_columns(self, dataset: Any, description: str | None = None) -> Any:
        """A row has the columns that its collator reads, and no others."""
        return dataset

    def over(self, rows: Sequence[Tokens]) -> Columns:
        """Rows under the names that this trainer's collator reads."""
        assert isinstance(self.train_dataset, Columns)
        return self.train_dataset.over(rows)

    def collated(self, rows: Sequence[Tokens]) -> dict[str, Any]:
        """Rows as one batch, as the loop gets it."""
        return dict(self.data_collator(list(self.over(rows))))

    def try_step(self, rows: Sequence[Tokens]) -> int:
        """One step forward and back on these rows; nothing is changed but gradients. Returns the tokens in it."""
        batch = self.collated(rows)
        count = (batch["labels"] != -100).sum() if "labels" in batch else None
        tokens = int(batch["input_ids"].numel())
        assert self.model is not None
        self.training_step(self.model, batch, count)
        return tokens

    def loss_of(self, rows: Sequence[Tokens], size: int) -> float:
        """Mean loss of rows, read `size` at a time, by the labels in them or else by the rows; nothing is trained."""
        assert isinstance(self.model, torch.nn.Module)
        total = counted = 0.0
        self.model.eval()
        for start in range(0, len(rows), size):
            batch = self.collated(rows[start : start + size])
            # Counted first: some take the labels out of a batch.
            count = int((batch["labels"] != -100).sum()) if "labels" in batch else len(batch["input_ids"])
            loss, *_ = self.prediction_step(self.model, batch, prediction_loss_only=True)
            assert loss is not None
            total, counted = total + float(loss) * count, counted + count
        self.model.train()
        return total / counted

    def forget(self) -> None:
        """Drop what was counted while trying, so that the first step's numbers are its own."""
