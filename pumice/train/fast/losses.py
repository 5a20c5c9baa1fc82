"""Losses and log-probabilities where a label is, and logits nowhere else. Knows no method, no recipe and no file."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

# Labels whose logits exist at once: 256 x 49,152 x 4 bytes = 50 MB, and no slower than all of them.
CHUNK = 256

# Keys of a model's configuration that change its logits in ways that this path does not follow.
LOGIT_KEYS = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def plain_head(model: PreTrainedModel) -> bool:
    """Whether the logits are the last hidden state times the head, and nothing more."""
    values = model.config.get_text_config().to_dict()
    return all(values.get(key) is None for key in LOGIT_KEYS)


class LabelLoss(torch.autograd.Function):
    """Sum of the cross entropies of `labels` [n] at `hidden` [n, width] under the head, in nats.

    The gradients are made in the forward pass, chunk by chunk: no more than the logits of one chunk ever exist.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        wants_hidden, wants_weight, wants_bias, _ = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for_hidden = torch.empty_like(hidden) if wants_hidden else None
        for_weight = torch.zeros_like(weight) if wants_weight else None
        for_bias = torch.zeros_like(bias) if wants_bias and bias is not None else None
        for start in range(0, len(labels), CHUNK):
            piece, wanted = hidden[start : start + CHUNK], labels[start : start + CHUNK, None]
            logits = F.linear(piece, weight, bias).float()
            logits -= logits.logsumexp(1, keepdim=True)
            total -= logits.gather(1, wanted).sum()
            if for_hidden is None and for_weight is None:
                continue
            slope = (
                logits.exp_().scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=logits.dtype)).to(hidden.dtype)
            )
            if for_hidden is not None:
                torch.mm(slope, weight, out=for_hidden[start : start + CHUNK])
            if for_weight is not None:
                for_weight.addmm_(slope.T, piece)
            if for_bias is not None:
                for_bias += slope.sum(0)
        ctx.gradients = (for_hidden, for_weight, for_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        for_hidden, for_weight, for_bias = (None if one is None else one * outer[0] for one in ctx.gradients)
        return for_hidden, for_weight, for_bias, None


def label_loss(hidden: Tensor, head: torch.nn.Module, labels: Tensor) -> Tensor:
    """Sum over a packed batch: `hidden` is [1, tokens, width], `labels` [1, tokens] with -100 where none is."""
    assert isinstance(head, torch.nn.Linear)
    following = labels[0, 1:]
    kept = (following != -100).nonzero()[:, 0]
    loss: Tensor = LabelLoss.apply(  # type: ignore[no-untyped-call]
        hidden[0, kept], head.weight, head.bias, following[kept]
    )
    return loss


def label_logprobs(hidden: Tensor, head: torch.nn.Module, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each of `labels` [n] at `hidden` [n, width], in nats, and the entropy there; [n] each.

    The logits of one chunk exist at a time; on the way back they are made again.
    """
    assert isinstance(head, torch.nn.Linear)
    found = [
        checkpoint(_logprobs, hidden[piece], head.weight, head.bias, labels[piece], use_reentrant=False)
        for piece in (slice(start, start + CHUNK) for start in range(0, len(labels), CHUNK))
    ]
    return torch.cat([logprobs for logprobs, _ in found]), torch.cat([entropy for _, entropy in found])


def _logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = F.linear(hidden, weight, bias).float()
    logprobs = logits - logits.logsumexp(1, keepdim=True)
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(1)
    return logprobs.gather(1, labels[:, None])[:, 0], entropy
