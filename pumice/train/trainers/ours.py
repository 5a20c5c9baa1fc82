"""What Pumice changes about every trainer of TRL: it calls nobody, and one batch can be tried. Knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import transformers


class Ours(transformers.Trainer):
    """In front of a TRL trainer in a class's bases."""

    metrics: frozenset[str] = frozenset()
    """Names of the numbers beside the loss that a step tells, as TRL logs them."""

    def _send_telemetry(self) -> None:
        """Nothing that happens here leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The card of a model is the registry's."""

    def _remove_unused_columns(self, dataset: Any, description: str | None = None) -> Any:
        """A row has the columns that its collator reads, and no others."""
        return dataset

    def collated(self, places: Sequence[int]) -> dict[str, Any]:
        """The rows at these places of the data as one batch, as the loop gets it."""
        assert self.train_dataset is not None
        return dict(self.data_collator([self.train_dataset[place] for place in places]))

    def try_step(self, places: Sequence[int]) -> int:
        """One step forward and back on these rows; nothing is changed but gradients. Returns the tokens in it."""
        batch = self.collated(places)
        count = (batch["labels"] != -100).sum() if "labels" in batch else None
        tokens = int(batch["input_ids"].numel())
        assert self.model is not None
        self.training_step(self.model, batch, count)
        return tokens

    def try_evaluation(self, places: Sequence[int]) -> None:
        """One evaluation on these rows."""
        assert self.model is not None
        self.prediction_step(self.model, self.collated(places), prediction_loss_only=True)

    def forget(self) -> None:
        """Drop what was counted while trying, so that the first step's numbers are its own."""
