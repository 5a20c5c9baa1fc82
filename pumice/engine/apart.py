"""Whether a server keeps requests with an adapter and without one apart in one step: tried before it may mix them.

vLLM's CPU build answers requests for the base with an adapter that shares their step (vllm-project/vllm#48421). The
adapter is made up here, so that its answers cannot be taken for the base's. Knows no engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pumice.engine.adapter import CONFIG, WEIGHTS
from pumice.engine.completions import Server
from pumice.engine.contract import Capabilities, Delta, Generate, Sampling
from pumice.engine.tensors import Array, Entry, folder_entries, write

LOGGER = logging.getLogger("pumice")
_RANK = 8
_CHANGED = 8
"""Weights that it changes, the last ones of their kind."""
_TOKENS = 12
_TIE = 0.05
"""Nats between the two likeliest tokens below which another batch may choose the other one."""
_PROMPTS = ((11, 7, 23, 5), (31, 13, 2, 19, 8))


async def tried(server: Server, base: Path, capabilities: Capabilities, several: int) -> Capabilities:
    """The capabilities, `mixed` where the server keeps requests apart; where it does not that is said.

    `several` are the adapters that a step has places for, or more. Raises what the server raises.
    """
    mixed = await _keeps_apart(server, base, [f"pumice-self-test-{at}" for at in range(several)])
    if not mixed:
        LOGGER.warning("%s mixes adapters up in one step: those of each adapter wait for their turn.", server.title)
    return replace(capabilities, mixed=mixed)


async def _keeps_apart(server: Server, base: Path, names: Sequence[str]) -> bool:
    """Whether each of a crowd of requests is answered as it is alone."""
    loaded: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pumice-") as folder:
        make_adapter(base, Path(folder))
        try:
            # All places are taken: what a base request finds in an empty one would change nothing.
            for name in names:
                await server.load(name, Path(folder))
                loaded.append(name)
            bare, adapted = [[await _ask(server, each, name) for each in _PROMPTS] for name in (None, names[0])]
            asked = [(prompt, name) for name in (None, *names) for prompt in _PROMPTS]
            crowd = await asyncio.gather(*(_ask(server, *each) for each in asked))
        finally:
            for name in loaded:
                await server.unload(name)
    told_apart = any(not _same(one, other) for one, other in zip(bare, adapted, strict=True))
    alone = [*bare, *adapted * len(names)]
    return told_apart and all(_same(one, other) for one, other in zip(alone, crowd, strict=True))


async def _ask(server: Server, prompt: Sequence[int], adapter: str | None) -> list[Delta]:
    request = Generate(prompt, Sampling(max_tokens=_TOKENS, logprobs=2), adapter)
    return [delta async for delta in server.generate(request, _TOKENS, adapter)]


def _same(alone: Sequence[Delta], mixed: Sequence[Delta]) -> bool:
    """Whether both are one answer, up to a token that was a toss-up."""
    one, other = ([token for delta in deltas for token in delta.logprobs] for deltas in (alone, mixed))
    for before, after in zip(one, other, strict=False):
        if before.id != after.id:
            (_, first), (_, second) = before.top[:2]
            return first - second < _TIE
    return len(one) == len(other)


def make_adapter(base: Path, out: Path) -> None:
    """A random adapter over the last blocks of `base`, as loud as the weights that it changes, in the folder `out`."""
    found = [entry for entry in folder_entries(base) if len(entry.shape) == 2 and entry.name.endswith("_proj.weight")]
    changed = sorted(found, key=lambda entry: [int(part) for part in entry.name.split(".") if part.isdigit()])[
        -_CHANGED:
    ]
    random = np.random.default_rng(0)
    tensors = dict(pair for entry in changed for pair in _pair(entry, random))
    shapes = [(name, "F32", values.shape) for name, values in tensors.items()]
    write(out / WEIGHTS, shapes, tensors.values())
    targets = sorted({entry.name.split(".")[-2] for entry in changed})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": _RANK, "lora_alpha": _RANK, "target_modules": targets}
    (out / CONFIG).write_text(json.dumps(config))


def _pair(entry: Entry, random: np.random.Generator) -> list[tuple[str, Array]]:
    """A and B whose product has the spread of the weight."""
    height, width = entry.shape
    scale = float(entry.read().std()) / np.sqrt(_RANK)
    a = random.standard_normal((_RANK, width), dtype=np.float32)
    b = random.standard_normal((height, _RANK), dtype=np.float32) * np.float32(scale)
    name = f"base_model.model.{entry.name.removesuffix('.weight')}.lora_"
    return [(f"{name}A.weight", a), (f"{name}B.weight", b)]
