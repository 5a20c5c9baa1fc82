"""A padded batch read as rows end to end, with logits where a label is: for the trainers that ask TRL's fused head.

Knows no method, no recipe and no file.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from pumice.train.fast.losses import label_logprobs

ASKED = {"input_ids", "attention_mask", "labels", "use_cache"}
"""What a batch of texts is asked with; anything more is left to TRL."""


def read(model: PreTrainedModel, ids: Tensor, mask: Tensor, labels: Tensor) -> FusedCausalLMOutput:
    """What TRL's fused head answers to `ids`, `mask` and `labels`, each [rows, tokens], -100 where there is no label.

    The numbers that TRL only logs are not made: each costs a pass over all logits.
    """
    there = mask.bool()
    lengths = there.sum(1)
    borders = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
    longest = int(lengths.max())
    backbone: Any = model.base_model
    hidden = backbone(
        input_ids=ids[there][None],
        position_ids=(there.cumsum(1) - 1)[there][None],
        cu_seq_lens_q=borders,
        cu_seq_lens_k=borders,
        max_length_q=longest,
        max_length_k=longest,
        use_cache=False,
    ).last_hidden_state[0]
    wanted = labels[:, 1:] != -100
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    found = label_logprobs(hidden[torch.nn.functional.pad(wanted, (0, 1))[there]], head, labels[:, 1:][wanted])
    logprobs = hidden.new_zeros(wanted.shape).masked_scatter(wanted, found)
    unknown = torch.full_like(logprobs, torch.nan)
    return FusedCausalLMOutput(
        loss=-found.sum() / wanted.sum().clamp(min=1),
        log_probs=logprobs,
        entropy=unknown,
        mean_logits=unknown,
        is_top1=torch.zeros_like(wanted),
        label_mask=wanted,
    )


def quicken(model: PreTrainedModel) -> None:
    """Let `model`, which has TRL's fused head and the attention of `segments`, answer so when that head is asked."""
    padded = model.forward

    def forward(self: PreTrainedModel, *given: Any, fused_lm_head: bool = False, **named: Any) -> Any:
        if not fused_lm_head or given or named.keys() - ASKED:
            return padded(*given, fused_lm_head=fused_lm_head, **named)
        return read(self, named["input_ids"], named["attention_mask"], named["labels"])

    model.forward = MethodType(forward, model)
