"""Norms and gated feed-forward blocks that keep less: what costs little is computed again on the way back.

Knows the blocks of Llama and its relatives by their classes, and no recipe. Zhang and Sennrich 2019, Root Mean Square
Layer Normalization, arXiv:1910.07467; Shazeer 2020, GLU Variants Improve Transformer, arXiv:2002.05202.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralMLP, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP, Qwen3RMSNorm

from pumice.train.fast.products import Layer, back, layer_of, straight

NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm)
GATED = (LlamaMLP, MistralMLP, Qwen2MLP, Qwen3MLP)


class Norm(torch.autograd.Function):
    """`x` over its root mean square, times a weight; keeps x and one number a token."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        width = x.shape[-1]
        over = torch.linalg.vecdot(x, x).div_(width).add_(epsilon).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, weight, over)
        out: Tensor = (x * over).mul_(weight)
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, over = ctx.saved_tensors
        for_weight = (outer[0] * x).mul_(over).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        slope = outer[0] * weight
        along = torch.linalg.vecdot(slope, x).unsqueeze(-1).mul_(over.square()).div_(x.shape[-1])
        return slope.addcmul_(x, along, value=-1).mul_(over), for_weight, None


class Gated(torch.autograd.Function):
    """down(silu(gate(x)) * up(x)), each linear layer with its LoRA; `x` is [tokens, width].

    Keeps x, gate(x), up(x) and the thin products; the factors come as arguments for their gradients alone.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: tuple[Layer, Layer, Layer], *factors: Tensor) -> Tensor:
        gate, up, down = layers
        thin_gate, opened = _through(x, gate)
        thin_up, lifted = _through(x, up)
        thin_down, out = _through(F.silu(opened).mul_(lifted), down)
        ctx.layers = layers
        ctx.save_for_backward(x, opened, lifted, thin_gate, thin_up, thin_down, *factors)
        return out

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        x, opened, lifted, thin_gate, thin_up, thin_down, *factors = ctx.saved_tensors
        gate, up, down = (
            layer._replace(down=factors[2 * at], up=factors[2 * at + 1]) for at, layer in enumerate(ctx.layers)
        )
        silu = F.silu(opened)
        for_product, down_a, down_b = back(outer[0], silu * lifted, thin_down, down, True)
        assert for_product is not None
        for_lifted = silu.mul_(for_product)
        for_opened = torch.ops.aten.silu_backward(for_product.mul_(lifted), opened)
        del for_product
        for_x, up_a, up_b = back(for_lifted, x, thin_up, up, ctx.needs_input_grad[0])
        also, gate_a, gate_b = back(for_opened, x, thin_gate, gate, ctx.needs_input_grad[0])
        if for_x is not None and also is not None:
            for_x += also
        return for_x, None, gate_a, gate_b, up_a, up_b, down_a, down_b


def _through(x: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    assert layer.down is not None and layer.up is not None
    thin = x @ layer.down.T
    return thin, straight(x, layer).addmm_(thin, layer.up.T, alpha=layer.scale)


def _norm(self: Any, hidden_states: Tensor) -> Tensor:
    if hidden_states.dtype != torch.float32:
        return type(self).forward(self, hidden_states)  # type: ignore[no-any-return]
    found: Tensor = Norm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
    return found


def _gated(self: Any, x: Tensor) -> Tensor:
    layers = tuple(layer_of(each, x) for each in (self.gate_proj, self.up_proj, self.down_proj))
    factors = [each for layer in layers if layer for each in (layer.down, layer.up) if each is not None]
    if len(factors) < 6:
        return type(self).forward(self, x)  # type: ignore[no-any-return]
    found: Tensor = Gated.apply(x.reshape(-1, x.shape[-1]), layers, *factors)  # type: ignore[no-untyped-call]
    return found.view(x.shape)


def quicken(model: nn.Module) -> None:
    """Let every block in `model` that is known here compute so."""
    for module in model.modules():
        if type(module) in NORMS:
            module.forward = MethodType(_norm, module)
        elif type(module) in GATED and isinstance(module.act_fn, nn.SiLU | SiLUActivation):
            module.forward = MethodType(_gated, module)
