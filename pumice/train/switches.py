"""How a step is computed on this machine, and why: what the libraries document for a GPU, our own pieces on a CPU.

Touches no GPU and loads no model. What the GPU's switches do is TRL's and transformers' documentation: TRL,
"Reducing memory usage" and "Speeding up training"; none of them was run on one here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from pumice.train.methods import Rlhf
from pumice.train.recipe import Recipe


@dataclass(frozen=True)
class Switch:
    """One way to be faster or smaller that a step may take."""

    name: str
    on: bool
    why: str


@dataclass(frozen=True)
class Switches:
    """All of them. Made by `choose`."""

    fast: Switch
    packing: Switch
    bf16: Switch
    flash: Switch
    liger: Switch
    checkpointing: Switch
    four_bits: Switch
    sharding: Switch

    def each(self) -> tuple[Switch, ...]:
        """In the order in which they are told."""
        return (
            self.fast,
            self.packing,
            self.bf16,
            self.flash,
            self.liger,
            self.checkpointing,
            self.four_bits,
            self.sharding,
        )


def choose(recipe: Recipe, on_gpu: bool, squeezed: bool) -> Switches:
    """For a resolved recipe; `squeezed` says that activations do not fit into memory."""
    way, packing = recipe.weights, _packing(recipe, on_gpu)
    return Switches(
        fast=Switch("fast", recipe.fast and not on_gpu, _fast(recipe, on_gpu)),
        packing=packing,
        bf16=Switch("bf16", on_gpu, "a GPU computes it fastest" if on_gpu else "on a CPU everything is fp32"),
        flash=_installed("flash attention", "flash_attn", on_gpu and packing.on, "for packed rows"),
        liger=_installed("Liger kernels", "liger_kernel", on_gpu, "fewer passes over norms and gated blocks"),
        checkpointing=Switch(
            "gradient checkpointing",
            squeezed,
            "activations do not fit into memory; they are computed twice"
            if squeezed
            else "there is room for activations"
            if way.recomputes
            else f"{recipe.way} cannot compute activations twice",
        ),
        four_bits=Switch(
            "4 bits", way.four_bits, "the method's own" if way.four_bits else "method: qlora holds the base in 4 bits"
        ),
        sharding=Switch("FSDP", False, "every process holds the whole model; one that does not fit needs qlora"),
    )


def _fast(recipe: Recipe, on_gpu: bool) -> str:
    if on_gpu:
        return "they are for CPUs; a GPU has the libraries' kernels"
    return "products, norms, attention and losses that keep less" if recipe.fast else "the recipe says fast: false"


def _packing(recipe: Recipe, on_gpu: bool) -> Switch:
    if not recipe.packing:
        return Switch("packing", False, "the recipe says packing: false")
    if recipe.knobs.classifier or isinstance(recipe.knobs, Rlhf):
        return Switch("packing", False, f"{recipe.method} reads padded rows")
    if not recipe.weights.packs:
        return Switch("packing", False, f"{recipe.way} puts something in front of each row")
    if not (on_gpu or recipe.fast):
        return Switch("packing", False, "without fast nothing packs on a CPU")
    return Switch("packing", True, "no padding is computed, if the base's attention allows it")


def _installed(name: str, package: str, wanted: bool, why: str) -> Switch:
    if not wanted:
        return Switch(name, False, f"only on a GPU, {why}")
    found = find_spec(package) is not None
    return Switch(name, found, why if found else f"{package} is not installed")
