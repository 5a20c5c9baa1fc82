"""Rows end to end in one sequence, each seeing only itself. Knows no method, no recipe and no file."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

ATTENTION = "pumice_segments"

# Keys of a model's configuration that change its attention in ways that this path does not follow.
ATTENTION_KEYS = ("attn_logit_softcapping",)
LAYER_TYPES = {"full_attention", "sliding_attention"}


def segments(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each segment. `query` is [1, heads, tokens, size]; `cu_seq_lens_q` holds the borders.

    Without borders the whole sequence is one segment. Returns [1, tokens, heads, size].
    """
    length = query.shape[2]
    borders = [0, length] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    parts = []
    for start, end in pairwise(borders):
        size = end - start
        band = None
        if sliding_window is not None and size > sliding_window:
            ones = torch.ones(size, size, dtype=torch.bool, device=query.device)
            band = ones.tril().triu(1 - sliding_window)
        parts.append(
            F.scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, start:end],
                value[:, :, start:end],
                attn_mask=band,
                dropout_p=dropout,
                is_causal=band is None,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(parts, 2).transpose(1, 2), None


def no_mask(*_: Any, **__: Any) -> None:
    """The segments are the mask."""


AttentionInterface.register(ATTENTION, segments)
AttentionMaskInterface.register(ATTENTION, no_mask)


def why_not_packed(model: PreTrainedModel) -> str:
    """Why rows of this model cannot lie end to end; "" when they can."""
    config = model.config.get_text_config()
    values = config.to_dict()
    if not model._supports_attention_backend:
        return f"{config.model_type} brings its own attention"
    if any(values.get(key) is not None for key in ATTENTION_KEYS):
        return f"{config.model_type} caps its attention scores"
    if model._is_stateful or set(values.get("layer_types") or ()) - LAYER_TYPES:
        return f"{config.model_type} carries a state from token to token"
    return ""
