"""Linear layers with LoRA as one step of autograd, which keeps its input and the thin product, and no sum between.

Knows no model and no recipe. Hu et al. 2021, LoRA, arXiv:2106.09685: y = x Wᵀ + s (x Aᵀ) Bᵀ.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


class Layer(NamedTuple):
    """What a linear layer computes now: `weight` [out, in] is frozen, `down` is A [r, in], `up` is B [out, r]."""

    weight: Tensor
    bias: Tensor | None
    down: Tensor | None = None
    up: Tensor | None = None
    scale: float = 1.0


class Product(torch.autograd.Function):
    """`x` [tokens, in] through one `Layer` with LoRA; [tokens, out]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, down: Tensor, up: Tensor) -> Tensor:
        thin = x @ down.T
        ctx.layer = layer
        ctx.save_for_backward(x, thin, down, up)
        return straight(x, layer).addmm_(thin, up.T, alpha=layer.scale)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor]:
        x, thin, down, up = ctx.saved_tensors
        for_x, for_down, for_up = back(outer[0], x, thin, ctx.layer._replace(down=down, up=up), ctx.needs_input_grad[0])
        return for_x, None, for_down, for_up


def straight(x: Tensor, layer: Layer) -> Tensor:
    """The layer without its LoRA."""
    return x @ layer.weight.T if layer.bias is None else torch.addmm(layer.bias, x, layer.weight.T)


def back(outer: Tensor, x: Tensor, thin: Tensor, layer: Layer, wants_x: bool) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of x, A and B for that of the output; `thin` is x Aᵀ."""
    assert layer.down is not None and layer.up is not None
    slope = (outer @ layer.up).mul_(layer.scale)
    for_x = (outer @ layer.weight).addmm_(slope, layer.down) if wants_x else None
    return for_x, slope.T @ x, (outer.T @ thin).mul_(layer.scale)


def layer_of(module: nn.Module, x: Tensor) -> Layer | None:
    """How a linear module computes `x` at this moment; None where only the module itself knows."""
    base = module.base_layer if type(module) is Linear else module
    if type(base) is not nn.Linear or base.weight.requires_grad or torch.is_autocast_enabled(x.device.type):
        return None
    layer = Layer(base.weight, base.bias)
    if type(module) is not Linear:
        return layer
    if module.merged:
        return None
    names = [] if module.disable_adapters else [name for name in module.active_adapters if name in module.lora_A]
    if not names:
        return layer
    (name, *more) = names
    down, up, dropout = (held[name] for held in (module.lora_A, module.lora_B, module.lora_dropout))
    assert isinstance(down, nn.Linear) and isinstance(up, nn.Linear)
    plain = not more and name not in module.lora_variant and up.bias is None
    if not plain or (module.training and type(dropout) is nn.Dropout and dropout.p):
        return None
    if not x.dtype == layer.weight.dtype == down.weight.dtype:
        return None
    return layer._replace(down=down.weight, up=up.weight, scale=module.scaling[name])


def _forward(self: Linear, x: Tensor, *given: Any, **named: Any) -> Tensor:
    layer = None if given or named else layer_of(self, x)
    if layer is None or layer.down is None or layer.up is None:
        return type(self).forward(self, x, *given, **named)
    found: Tensor = Product.apply(x.reshape(-1, x.shape[-1]), layer, layer.down, layer.up)  # type: ignore[no-untyped-call]
    return found.view(*x.shape[:-1], -1)


def quicken(model: nn.Module) -> None:
    """Let every LoRA layer in `model` compute so, whenever it is plain."""
    for module in model.modules():
        if type(module) is Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
