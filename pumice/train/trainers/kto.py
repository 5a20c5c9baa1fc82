"""KTO through TRL, on ids that are made already. Knows no chat template and no text."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from pumice.errors import InputError
from pumice.records import Event, Tokens
from pumice.train.methods import Kto
from pumice.train.trainers import judged
from pumice.train.trainers.load import load_causal
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.tune import tune


class Trainer(judged.Judged, KTOTrainer):  # type: ignore[misc]
    """TRL's trainer, which measures the distance from the start once a step instead of once a batch."""

    metrics = frozenset({"rewards/chosen", "rewards/rejected", "rewards/margins", "kl"})
    distance: Tensor

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """The batches of a step with what the start thinks of them, and how many rows they hold."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        return self.measured(batches), count

    def collated(self, rows: Sequence[Tokens]) -> dict[str, Any]:
        """Rows as one batch, as the loop gets it."""
        return self.measured([super().collated(rows)])[0]

    def measured(self, batches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The batches of one step with the likelihoods under the start; keeps the step's distance from it."""
        ready = [self._prepare_inputs(batch) for batch in batches]
        distances = []
        for batch in ready:
            start: Tensor
            batch["ref_logps"], start = self.compute_ref_log_probs(  # type: ignore[no-untyped-call]
                self.ref_model or self.model, batch
            )
            with self.accelerator.autocast():
                now: Tensor = super()._compute_kl_logps(self.model, batch)  # type: ignore[no-untyped-call]
            distances.append(now - start)
            batch["ref_KL_logps"] = torch.zeros_like(start)
        if distances:
            self.distance = torch.cat(distances).mean()
        return ready

    def _compute_kl_logps(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Where TRL looks for the distance: that of the whole step, from which it takes the zeros above."""
        return self.distance


def columns(row: Tokens) -> dict[str, Any]:
    """A row as TRL's collator for single judged answers reads it, without the answer that belongs elsewhere."""
    prompt, answer = judged.parted(row)
    return {"prompt_ids": prompt, "completion_ids": answer, "label": row.label is True}


def build(parts: Parts) -> Trainer:
    """A trainer of the recipe's weights on judged answers, measured from where they start.

    Raises `InputError` when all answers are to one prompt.
    """
    knobs, recipe = parts.recipe.knobs, parts.recipe
    assert isinstance(knobs, Kto) and recipe.max_length is not None and recipe.batch_size is not None
    others = elsewhere((judged.parted(row)[0] for row in parts.rows), recipe.seed)
    mismatched = partial(answer_elsewhere, parts.rows, others, longest=recipe.max_length)
    judged.tell_of_dropout(parts)
    tell_of_balance(knobs, parts.rows.wanted.tolist(), parts)
    model = tune(load_causal(parts), parts)
    arguments = KTOConfig(
        # TRL refuses batches of one row, of which its own mismatched answers would be the row's own.
        **{**parts.arguments, "per_device_train_batch_size": max(2, recipe.batch_size)},
        beta=knobs.beta,
        desirable_weight=knobs.desirable_weight,
        undesirable_weight=knobs.undesirable_weight,
        max_length=None,
        include_num_input_tokens_seen="non_padding",
    )
    start = judged.frozen_start(model, parts)
    trainer = Trainer(
        model,
        start,
        arguments,
        train_dataset=parts.dataset(columns, KL_completion_ids=mismatched),
        processing_class=parts.tokenizer,
    )
    judged.forget_new_adapter(model, parts)
    judged.lay_end_to_end(trainer, start, parts, pairs=False)
    # What the start thinks of a batch lies in the batch; the mismatched answers depend on no order and no batch.
    trainer.precompute_ref_logps = True
    arguments.train_sampling_strategy = "random"
    arguments.per_device_train_batch_size = trainer._train_batch_size = recipe.batch_size
    return trainer


def elsewhere(prompts: Iterable[Sequence[int]], seed: int) -> Sequence[int]:
    """For each row the place of one with another prompt, whose answer it is measured by.

    Each is given once, unless one prompt has more than half of them: its rows then share the others.
    Raises `InputError` when there is but one prompt.
    """
    alike: dict[bytes, list[int]] = {}
    rows = 0
    for place, prompt in enumerate(prompts):
        # Of a million prompts their hashes are kept.
        alike.setdefault(blake2b(array("i", prompt).tobytes(), digest_size=16).digest(), []).append(place)
        rows = place + 1
    if len(alike) < 2:
        raise InputError(
            f"All {rows:,} answers are to one prompt.",
            "kto measures how far the model moves by answers that belong to other prompts.",
            "Add answers to other prompts, or give pairs and train with dpo.",
        )
    groups = list(alike.values())
    random.Random(seed).shuffle(groups)
    order = [place for group in groups for place in group]
    # Rows of one prompt lie together, so a turn by the largest group leads each of them to another one.
    turn, start = max(map(len, groups)), 0
    given = array("q", bytes(8 * rows))
    for group in groups:
        for at, place in enumerate(group):
            given[place] = order[(start + turn + at % (rows - turn)) % rows]
        start += len(group)
    return given


def answer_elsewhere(rows: Sequence[Tokens], others: Sequence[int], place: int, row: Tokens, longest: int) -> list[int]:
    """The answer to another prompt than the row's, cut so that the row's own prompt and it fit `longest`."""
    (prompt, _), (_, answer) = judged.parted(row), judged.parted(rows[others[place % len(others)]])
    return answer[: max(1, longest - len(prompt))]


def tell_of_balance(knobs: Kto, wanted: Sequence[bool], parts: Parts) -> None:
    """Say when one side drowns the other: wanted over unwanted should weigh 1 to 4/3 (equation 8 of the paper)."""
    many, few = sum(wanted), len(wanted) - sum(wanted)
    if not many or not few:
        return
    ratio = many * knobs.desirable_weight / (few * knobs.undesirable_weight)
    if 1 <= ratio <= 4 / 3:
        return
    key, weight = "desirable_weight", knobs.desirable_weight / ratio
    if ratio > 1:
        key, weight = "undesirable_weight", knobs.undesirable_weight * ratio
    text = f"{many:,} answers are wanted and {few:,} are not; kto.{key}: {weight:.2g} would give both the same weight."
    parts.tell(Event("note", {"text": text}))
