"""Training on how likely a teacher finds each token; on a teacher's answers, `sft` trains as on any others.

Why not TRL's: its DistillationTrainer (1.16) learns from what the student writes while it trains, and its GKDTrainer
holds the whole logits of both models at once. Here the teacher reads along the rows that are there. Knows no text.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel
from trl.trainer.sft_config import SFTConfig

from pumice.errors import InputError
from pumice.records import Event
from pumice.train.fast import losses, segments
from pumice.train.methods import Distill
from pumice.train.trainers import sft
from pumice.train.trainers.load import load_causal
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.tune import tune


class Trainer(sft.Trainer):
    """TRL's trainer for answers, with the divergence from the teacher as its loss."""

    teacher: Any
    temperature: float

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Sum of the labels' divergences over the labels of the whole step (Hinton et al. 2015)."""
        kept = inputs["labels"][:, 1:] != -100
        without = {key: value for key, value in inputs.items() if key != "labels"}
        student = sft.bare(model)
        with self.accelerator.autocast():
            with torch.no_grad():
                wanted = ahead(self.teacher, without)[:, :-1][kept]
            learned = ahead(student, without)[:, :-1][kept]
            total = divergence(learned, student, wanted, self.teacher, self.temperature)
        if model.training:
            self._total_train_tokens += inputs["input_ids"].numel()
        return total / (kept.sum() if num_items_in_batch is None else num_items_in_batch)


def ahead(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """What a model makes of each token, up to its output layer where that can be applied later: [rows, tokens, width].

    Else its logits.
    """
    if not losses.plain_head(model):
        logits: Tensor = model(**inputs, use_cache=False).logits
        return logits
    backbone: Any = model.base_model
    hidden: Tensor = backbone(**inputs, use_cache=False).last_hidden_state
    return hidden


def divergence(learned: Tensor, student: Any, wanted: Tensor, teacher: Any, heat: float) -> Tensor:
    """Sum over n labels of heat squared * KL(teacher || student), both at the temperature `heat`, in nats.

    `learned` and `wanted` are what `ahead` gave at the labels: [n, width]. Only one chunk's logits exist at once.
    """
    ours, theirs = output_layer(student), output_layer(teacher)
    # A vocabulary is sometimes filled up to a round number; no text has those tokens.
    size = min(model.config.get_text_config().vocab_size for model in (student, teacher))

    def piece(learned: Tensor, wanted: Tensor) -> Tensor:
        found = F.log_softmax(ours(learned)[:, :size].float() / heat, dim=1)
        right = F.log_softmax(theirs(wanted)[:, :size].float() / heat, dim=1)
        return F.kl_div(found, right, reduction="sum", log_target=True)

    total = torch.zeros((), dtype=torch.float32, device=learned.device)
    for start in range(0, len(learned), losses.CHUNK):
        rows = slice(start, start + losses.CHUNK)
        # The logits are made once more on the way back instead of being kept.
        total = total + checkpoint(piece, learned[rows], wanted[rows], use_reentrant=False)
    return heat**2 * total


def output_layer(model: Any) -> Any:
    """What turns the output of `ahead` into logits."""
    return model.get_output_embeddings() if losses.plain_head(model) else torch.nn.Identity()


def build(parts: Parts) -> Ours:
    """A trainer of the recipe's weights on the teacher's answers, or on what it finds likely."""
    knobs = parts.recipe.knobs
    assert isinstance(knobs, Distill)
    if knobs.source == "answers":
        return sft.build(parts)
    model, teacher = load_causal(parts), load_teacher(parts)
    packed = sft.lay_end_to_end(model, parts)
    if packed and (reason := segments.why_not_packed(teacher)):
        text = f"The rows are padded, not packed: the teacher {reason}. Slower, with the same result."
        parts.tell(Event("note", {"text": text}))
        model, packed = load_causal(parts), False
    if packed:
        teacher.set_attn_implementation(str(model.config._attn_implementation))
    arguments = SFTConfig(
        **parts.arguments,
        max_length=None,
        packing=False,
        padding_free=packed,
        include_num_input_tokens_seen="all" if packed else "non_padding",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    tuned = tune(model, parts)
    trainer = Trainer(tuned, arguments, train_dataset=parts.dataset(sft.columns), processing_class=parts.tokenizer)
    trainer.in_parts = packed and parts.fast and not trainer.aux_loss_enabled
    trainer.teacher, trainer.temperature = teacher.to(trainer.args.device), knobs.temperature
    return trainer


def load_teacher(parts: Parts) -> Any:
    """The teacher, which does not change. Raises `InputError` when it cannot be loaded."""
    assert parts.guide
    dtype = torch.bfloat16 if parts.cuda else torch.float32
    try:
        teacher: Any = AutoModelForCausalLM.from_pretrained(
            parts.guide, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise InputError(f"The teacher in {parts.guide} cannot be loaded.", str(error)) from error
    return teacher.eval().requires_grad_(False)
