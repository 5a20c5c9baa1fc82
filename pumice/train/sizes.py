"""How much memory and time a training run takes, and what this machine has. Touches no GPU and loads no model.

The constants were fitted to runs of Llamas of 8M, 50M and 135M weights on two CPU cores (`benchmarks.memory`); expect
the memory within a quarter and the time within a factor of two. The rehearsal in `loop` measures both before the start.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import psutil

from pumice.bases.catalogue import CATALOGUE, Entry
from pumice.records import Base
from pumice.train.fast import TOKENS
from pumice.train.methods import Dora, Full, Lora, Method, QLora, Weights
from pumice.train.recipe import Recipe

# Python with torch, transformers and TRL, before any weight.
PROCESS_BYTES = 520_000_000
# Numbers kept for the way back, a token and layer, in units of the hidden size.
KEPT_PER_LAYER = 34
# The same where LoRA's products and gated blocks are those of `fast`.
KEPT_BY_FAST = 21
# Labels whose logits exist at once, where only those of labels are made.
LOGITS_AT_ONCE = 256
# Bytes of a weight in 4 bits, with its part of the scales.
FOUR_BITS = 0.55
# A GPU cannot be timed without touching it: what an 80 GB data-centre GPU reaches in bf16.
GPU_FLOPS = 100e12
# What catalogue and doctor mean by "can train": a step of this many tokens fits.
REFERENCE_TOKENS = 1024
REFERENCE = next(entry for entry in CATALOGUE if entry.id == "meta-llama/Llama-3.2-1B-Instruct")

Listed = Literal["full", "lora", "qlora"]
"""Weights of which catalogue and doctor tell whether they can be trained."""
LISTED: dict[Listed, Weights] = {"full": Full(), "lora": Lora(), "qlora": QLora()}


class Shape(Protocol):
    """A model's size; a `Base` and an `Entry` of the catalogue both have it."""

    @property
    def parameters(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi names it; bytes."""

    name: str
    memory: int
    free: int


@dataclass(frozen=True)
class Machine:
    """What this computer has; bytes."""

    cores: int
    memory: int
    free: int
    gpus: tuple[Gpu, ...]

    def available(self, on_gpu: bool) -> int:
        """Free bytes where training would run."""
        return max((gpu.free for gpu in self.gpus), default=0) if on_gpu else self.free

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take."""

    memory_bytes: int
    """At the peak, the whole process."""
    seconds: float
    operations: float
    """Of the whole run; a product and a sum are two."""
    trainable_parameters: int
    gradient_checkpointing: bool
    """Whether activations must be computed twice to fit into memory."""

    def __str__(self) -> str:
        size, minutes = self.memory_bytes / 1e9, self.seconds / 60
        return (
            f"about {size:.1f} GB of memory and {minutes:.1f} minutes, {self.trainable_parameters:,} numbers to train."
        )


@dataclass(frozen=True)
class Ability:
    """What this machine can do with a model of the catalogue."""

    entry: Entry
    train: Mapping[Listed, bool]
    serve: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self.entry), "train": dict(self.train), "serve": self.serve}


def estimate(
    recipe: Recipe, base: Base, tokens: int, longest: int, on_gpu: bool = False, free: int | None = None
) -> Estimate:
    """Peak memory and time of a resolved recipe on rows of `tokens` tokens in all, `longest` in the longest.

    `free` are the bytes of another machine than this one.
    """
    method, weights = recipe.knobs, recipe.weights
    # Answers that are written while it trains are no tokens of the data.
    tokens, longest = round(tokens * method.held(longest) / longest), round(method.held(longest))
    at_once = min((recipe.batch_size or 1) * longest, tokens)
    fast = recipe.fast and not on_gpu
    if fast and recipe.packing and weights.packs and method.in_parts:
        at_once = min(at_once, max(TOKENS, longest))
    memory = needed(base, method, weights, at_once, on_gpu, fast=fast)
    squeezed = weights.recomputes and memory > (machine().available(on_gpu) if free is None else free)
    if squeezed:
        memory = needed(base, method, weights, at_once, on_gpu, squeezed, fast)
    trained = weights.trained(base.hidden_size, base.layers, base.parameters)
    # Two operations a weight forward and two back; two more where the weights themselves are trained.
    operations = tokens * (recipe.epochs or 1) * (4 * base.parameters + 2 * trained) * (4 / 3 if squeezed else 1)
    seconds = operations / (GPU_FLOPS if on_gpu else product_flops() * cores())
    return Estimate(memory, seconds, operations, trained, squeezed)


def needed(
    shape: Shape,
    method: Method,
    weights: Weights,
    tokens: int,
    on_gpu: bool,
    squeezed: bool = False,
    fast: bool = False,
) -> int:
    """Peak bytes of a step of `tokens` tokens: weights, gradients, optimizer, activations, logits.

    Another model that the method asks is taken to be as large as this one.
    """
    trained = weights.trained(shape.hidden_size, shape.layers, shape.parameters)
    copies = 1 + (method.reference and not weights.adapter) + (method.guide is not None)
    held = copies * shape.parameters * (2 if on_gpu and weights.adapter else 4)
    if weights.four_bits:
        # Embeddings stay as they are, and compute in 32 bits.
        embeddings = shape.vocabulary * shape.hidden_size
        held = round(copies * ((shape.parameters - embeddings) * FOUR_BITS + embeddings * 4))
    # Squeezed, a layer keeps its input and what it needs is computed again, one layer at a time.
    deep = weights.kept(shape.layers)
    layer = KEPT_BY_FAST if fast and isinstance(weights, Lora) and not isinstance(weights, Dora) else KEPT_PER_LAYER
    layers = deep * 2 + layer if squeezed else max(1, deep) * layer
    kept = tokens * layers * shape.hidden_size * (2 if on_gpu else 4)
    all_at_once = (method.all_logits and not fast) or not weights.packs
    rows_of_logits = tokens if all_at_once else min(tokens, LOGITS_AT_ONCE)
    logits = 0 if method.classifier else 3 * rows_of_logits * shape.vocabulary * 4
    # Gradients come as what was kept goes; then Adam, beside its two running means, works with another copy.
    return (0 if on_gpu else PROCESS_BYTES) + held + trained * 8 + max(kept + logits, trained * 8)


FACTOR_MEANS = (
    "Memory: all that a step of 1,024 tokens takes on a CPU (of qlora: on a GPU), in units of the base's own weights "
    "in 32 bits, for a model with a billion of them."
)


def factor(method: type[Method]) -> float:
    """Memory of a step in units of the base's weights; `FACTOR_MEANS` says which step."""
    required = {name: "another model" for name, knob in method.model_fields.items() if knob.is_required()}
    knobs = method(**required)
    weights = knobs if isinstance(knobs, Weights) else Lora()
    on_gpu = weights.four_bits
    bytes = needed(REFERENCE, knobs, weights.resolved(), REFERENCE_TOKENS, on_gpu, fast=not on_gpu)
    return bytes / (4 * REFERENCE.parameters)


def machine() -> Machine:
    """This computer, now."""
    memory = psutil.virtual_memory()
    return Machine(cores(), memory.total, memory.available, gpus())


def cores() -> int:
    """Physical cores that this process may use."""
    usable = len(psutil.Process().cpu_affinity()) if psutil.LINUX else os.cpu_count() or 1
    return min(usable, psutil.cpu_count(logical=False) or usable)


def gpus() -> tuple[Gpu, ...]:
    """As nvidia-smi lists them; none when there is no such program or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if answer.returncode != 0:
        return ()
    found = [
        [part.strip() for part in line.rsplit(",", 2)] for line in answer.stdout.splitlines() if line.count(",") >= 2
    ]
    return tuple(Gpu(name, int(total) * 2**20, int(free) * 2**20) for name, total, free in found)


@functools.cache
def product_flops() -> float:
    """Operations a second of a 64 x 64 fp32 matrix product on one core; the best of those within a fifth of a second.

    A training step reaches about so many on each core. Small, as threads that wait for each other
    on a busy machine would make it look 20 times slower than it is.
    """
    matrix = np.full((64, 64), 0.5, dtype=np.float32)
    out = np.empty_like(matrix)
    start = ended = time.perf_counter()
    best = float("inf")
    while ended < start + 0.2:
        began = time.perf_counter()
        np.matmul(matrix, matrix, out=out)
        ended = time.perf_counter()
        best = min(best, ended - began)
    return 2 * 64**3 / best


def trainable(shape: Shape, on: Machine, name: Listed) -> bool:
    """Whether a step of 1,024 tokens fits into all the memory there is. QLoRA needs a GPU."""
    on_gpu = bool(on.gpus)
    room = max(gpu.memory for gpu in on.gpus) if on_gpu else on.memory
    weights = LISTED[name]
    if weights.four_bits and not on_gpu:
        return False
    return needed(shape, weights, weights, REFERENCE_TOKENS, on_gpu, on_gpu, fast=not on_gpu) <= room


def largest_trainable(on: Machine, name: Listed) -> Entry | None:
    """The largest model of the catalogue that fits, or None."""
    return max(
        (entry for entry in CATALOGUE if trainable(entry, on, name)), key=lambda entry: entry.parameters, default=None
    )


def serving(shape: Shape) -> int:
    """Bytes of an engine: its weights at 8 bits, and a conversation."""
    return round(shape.parameters * 1.1) + 500_000_000


def servable(shape: Shape, on: Machine) -> bool:
    """Whether it can answer within all the memory there is."""
    return serving(shape) <= on.memory


def largest_servable(on: Machine) -> Entry | None:
    """The largest model of the catalogue that can answer here, or None."""
    return _largest(entry for entry in CATALOGUE if servable(entry, on))


def _largest(entries: Iterable[Entry]) -> Entry | None:
    return max(entries, key=lambda entry: entry.parameters, default=None)


def abilities(entry: Entry, on: Machine) -> Ability:
    """What `on` can do with `entry`."""
    return Ability(entry, {name: trainable(entry, on, name) for name in LISTED}, servable(entry, on))
