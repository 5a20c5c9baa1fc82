"""Losses and log-probabilities where a label is, and logits nowhere else. Knows no method, no recipe and no file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

# Labels whose logits exist at once: 256 x 49,152 x 4 bytes = 50 MB, and no slower than all of them.
CHUNK = 256

# Keys of a model's configuration that change its logits in ways that this path does not follow.
LOGIT_KEYS = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def plain_head(model: PreTrainedModel) -> bool:
    """Whether the logits are the last hidden state times the head, and nothing more."""
    values = model.config.get_text_config().to_dict()
    return all(values.get(key) is None for key in LOGIT_KEYS)


def slopes(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Chunk by chunk of `labels` [n] at `hidden` [n, width]: which they are, their log-probabilities in nats, and
    what each logit adds to their negative sum [chunk, vocabulary], in one buffer that the next chunk takes again.
    """
    buffer = hidden.new_empty(min(CHUNK, len(labels)), len(weight))
    for start in range(0, len(labels), CHUNK):
        piece, wanted = slice(start, start + CHUNK), labels[start : start + CHUNK, None]
        logits = buffer[: len(wanted)]
        if bias is None:
            torch.mm(hidden[piece], weight.T, out=logits)
        else:
            torch.addmm(bias, hidden[piece], weight.T, out=logits)
        label, best = logits.gather(1, wanted), logits.amax(1, keepdim=True)
        torch.softmax(logits, 1, out=logits)
        # The best one's probability is never small, so its logarithm is exact.
        logprobs = label - best + logits.amax(1, keepdim=True).log()
        yield piece, logprobs[:, 0], logits.scatter_add_(1, wanted, torch.full_like(label, -1))


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
        for piece, logprobs, slope in slopes(hidden, weight, bias, labels):
            total -= logprobs.sum()
            if for_hidden is not None:
                torch.mm(slope, weight, out=for_hidden[piece])
            if for_weight is not None:
                for_weight.addmm_(slope.T, hidden[piece])
            if for_bias is not None:
                for_bias += slope.sum(0)
        ctx.gradients = (for_hidden, for_weight, for_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        for_hidden, for_weight, for_bias = (None if one is None else one * outer[0] for one in ctx.gradients)
        return for_hidden, for_weight, for_bias, None


class LabelLogprobs(torch.autograd.Function):
    """Log-probability of each of `labels` [n] at `hidden` [n, width] under the head, in nats; [n].

    What a log-probability owes to its hidden state is made in the forward pass; for a head that is trained, the
    logits are made again on the way back.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        found = hidden.new_empty(len(labels))
        for_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for piece, logprobs, slope in slopes(hidden, weight, bias, labels):
            found[piece] = logprobs
            if for_hidden is not None:
                torch.mm(slope, weight, out=for_hidden[piece])
        trained = any(ctx.needs_input_grad[1:3])
        ctx.save_for_backward(for_hidden, *((hidden, weight, bias, labels) if trained else ()))
        return found

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        down = -outer[0][:, None]
        for_hidden, *head = ctx.saved_tensors
        for_weight = for_bias = None
        if head:
            hidden, weight, bias, labels = head
            for_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
            for_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
            for piece, _, slope in slopes(hidden, weight, bias, labels):
                slope *= down[piece]
                if for_weight is not None:
                    for_weight.addmm_(slope.T, hidden[piece])
                if for_bias is not None:
                    for_bias += slope.sum(0)
        return None if for_hidden is None else for_hidden * down, for_weight, for_bias, None


def label_loss(hidden: Tensor, head: torch.nn.Module, labels: Tensor) -> Tensor:
    """Sum over a packed batch: `hidden` is [1, tokens, width], `labels` [1, tokens] with -100 where none is."""
    assert isinstance(head, torch.nn.Linear)
    following = labels[0, 1:]
    kept = (following != -100).nonzero()[:, 0]
    loss: Tensor = LabelLoss.apply(  # type: ignore[no-untyped-call]
        hidden[0, kept], head.weight, head.bias, following[kept]
    )
    return loss


def label_logprobs(hidden: Tensor, head: torch.nn.Module, labels: Tensor) -> Tensor:
    """Log-probability of each of `labels` [n] at `hidden` [n, width], in nats, from the logits of a chunk at a time."""
    assert isinstance(head, torch.nn.Linear)
    found: Tensor = LabelLogprobs.apply(hidden, head.weight, head.bias, labels)  # type: ignore[no-untyped-call]
    return found
