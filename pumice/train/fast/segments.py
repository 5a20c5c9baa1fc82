"""Rows end to end in one sequence, each seeing only itself. Knows no method, no recipe and no file."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from pumice.train.fast.kernels import mkl

ATTENTION = "pumice_segments"

# Keys of a model's configuration that change its attention in ways that this path does not follow.
ATTENTION_KEYS = ("attn_logit_softcapping",)
LAYER_TYPES = {"full_attention", "sliding_attention"}


BLOCK = 64
"""Queries whose scores exist at once: of a longer row few are spent on keys that come later."""


# As many as one row of 8,192 tokens has blocks: each layer asks for the same ones.
@functools.lru_cache(maxsize=128)
def hidden_keys(queries: int, keys: int, window: int) -> Tensor:
    """Minus infinity where one of the last `queries` of `keys` tokens does not see a key; [queries, keys]."""
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries).triu(keys - queries - window + 1)
    return torch.zeros(queries, keys).masked_fill_(~seen, -torch.inf)


class Attend(torch.autograd.Function):
    """Causal attention within each segment, block by block; what the softmax gave is made again on the way back.

    `query` is [heads, tokens, size], `key` and `value` [fewer heads, tokens, size]; `borders` of the segments. Returns
    [tokens, heads, size]. Dao et al. 2022, FlashAttention, arXiv:2205.14135, without its running softmax: a block's
    scores fit into the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, borders: list[int], window: int, scale: float
    ) -> Tensor:
        heads, tokens, size = query.shape
        keys, values = repeated(key, heads), repeated(value, heads)
        out = query.new_empty(tokens, heads, size)
        with mkl():
            for block, seen in blocks(borders, window):
                share = weights(query, keys, block, seen, window, scale)
                out[block] = torch.bmm(share, values[:, seen]).transpose(0, 1)
        ctx.given = borders, window, scale
        ctx.save_for_backward(query, key, value)
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        query, key, value = ctx.saved_tensors
        borders, window, scale = ctx.given
        heads, wide = len(query), outer[0].transpose(0, 1)
        keys, values = repeated(key, heads), repeated(value, heads)
        for_query, for_keys, for_values = torch.empty_like(query), torch.zeros_like(keys), torch.zeros_like(values)
        with mkl():
            for block, seen in blocks(borders, window):
                share = weights(query, keys, block, seen, window, scale)
                for_values[:, seen] += torch.bmm(share.transpose(1, 2), wide[:, block])
                for_share = torch.bmm(wide[:, block], values[:, seen].transpose(1, 2))
                slope = torch.ops.aten._softmax_backward_data(for_share, share, 2, share.dtype)
                for_query[:, block] = torch.bmm(slope, keys[:, seen])
                for_keys[:, seen] += torch.bmm(slope.transpose(1, 2), query[:, block])
        for_key = for_keys.mul_(scale).view(len(key), -1, *key.shape[1:]).sum(1)
        return for_query.mul_(scale), for_key, for_values.view(len(key), -1, *key.shape[1:]).sum(1), None, None, None


def repeated(x: Tensor, heads: int) -> Tensor:
    """Keys or values of fewer heads, once for each of `heads`."""
    return x if len(x) == heads else x.repeat_interleave(heads // len(x), 0)


def blocks(borders: list[int], window: int) -> Iterator[tuple[slice, slice]]:
    """Some queries of a segment, and the keys up to them that they may see."""
    for start, end in pairwise(borders):
        for first in range(start, end, BLOCK):
            last = min(first + BLOCK, end)
            yield slice(first, last), slice(max(start, first - window + 1), last)


def weights(query: Tensor, keys: Tensor, block: slice, seen: slice, window: int, scale: float) -> Tensor:
    """How much each query of a block attends to each key; [heads, queries, keys]."""
    hidden = hidden_keys(block.stop - block.start, seen.stop - seen.start, window)
    scores = torch.baddbmm(hidden, query[:, block], keys[:, seen].transpose(1, 2), alpha=scale)
    return torch.softmax(scores, 2)


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
    if len(query) == 1 and query.device.type == "cpu" and query.dtype == torch.float32 and not dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        out: Tensor = Attend.apply(  # type: ignore[no-untyped-call]
            query[0], key[0], value[0], borders, sliding_window or length, scale
        )
        return out[None], None
    parts = [
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
        for start, end in pairwise(borders)
        for band in [banded(end - start, sliding_window, query.device)]
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


def banded(size: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which keys are seen in a segment that is longer than what a token sees."""
    return (hidden_keys(size, size, window) == 0).to(device) if window is not None and size > window else None


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
