"""Supervised training through TRL, on ids and labels that are made already. Knows no chat template and no text."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from pumice.errors import InputError
from pumice.records import Event
from pumice.train import fast
from pumice.train.trainers.parts import Parts


class Trainer(SFTTrainer):
    """TRL's trainer, with the fast loss on a CPU, and which calls nobody."""

    fast_loss = False

    def _send_telemetry(self) -> None:
        """Nothing that happens here leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The card of a model is the registry's."""

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
        labels = inputs["labels"]
        without = {key: value for key, value in inputs.items() if key != "labels"}
        hidden = backbone(**without, use_cache=False).last_hidden_state
        head = causal.get_output_embeddings()  # type: ignore[no-untyped-call]
        total = fast.label_loss(hidden, head, labels)
        count = (labels[:, 1:] != -100).sum() if num_items_in_batch is None else num_items_in_batch
        self._total_train_tokens += labels.numel()
        return total / count


def bare(model: Any) -> PreTrainedModel:
    """The model inside peft's, with whatever peft has put into it."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    return inner


def load_model(parts: Parts) -> tuple[PreTrainedModel, bool]:
    """The base with its weights, and whether its rows may be packed. Reads safetensors only."""
    adapter = type(parts.recipe.knobs).adapter
    # A CPU without bf16 units is eight times slower in bf16; weights that are trained need fp32 everywhere.
    dtype = torch.bfloat16 if parts.cuda and adapter else torch.float32
    try:
        model = AutoModelForCausalLM.from_pretrained(
            parts.base.folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise InputError(f"The base {parts.base.name} cannot be loaded for training.", str(error)) from error
    reason = fast.why_not_packed(model)
    packed = parts.recipe.packing and not reason
    if parts.recipe.packing and reason:
        parts.tell(Event("note", {"text": f"The rows are padded, not packed: {reason}. Slower, with the same result."}))
    if packed:
        flash = parts.cuda and is_flash_attn_2_available()
        model.set_attn_implementation("flash_attention_2" if flash else fast.ATTENTION)
    return model, packed


def build_sft(parts: Parts, model: Any, packed: bool) -> Trainer:
    """A trainer of `model` on the rows of `parts`."""
    arguments = SFTConfig(
        **parts.arguments,
        max_length=None,
        packing=False,
        padding_free=packed,
        include_num_input_tokens_seen="all" if packed else "non_padding",
        # Everything is made already; TRL must not touch a row.
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = Trainer(model, arguments, train_dataset=parts.rows, processing_class=parts.tokenizer)
    trainer.fast_loss = (
        packed
        and not parts.cuda
        and not trainer.aux_loss_enabled
        and fast.plain_head(bare(model))
        and trainer.accelerator.num_processes == 1
    )
    return trainer
