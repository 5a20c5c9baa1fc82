"""What adapters cost an engine: one, eight and sixty-four in rotation, and the favourite, merged, beside the base.

    python -m benchmarks.adapters [--rounds 20]

Adapters are random and small, so that answers stay those of a model; what a step costs does not depend on their values.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.pairs import ROUNDS, in_turns, median, ratio
from benchmarks.performance import Claim, Part, Row, record
from benchmarks.streams import prompt
from pumice.bases import resolve
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine import llamacpp
from pumice.engine.contract import Generate, Sampling
from pumice.engine.favourite import RECENT
from pumice.engine.llamacpp import LlamaCpp
from pumice.engine.tensors import folder_entries

R = 16
COUNTS = (1, 8, 64)
AT_ONCE, PROMPT, NEW = 32, 16, 16
"""Requests that come at once, tokens of each prompt, and of each answer."""
ALONE = 96
"""Tokens of an answer that has the engine for itself."""


def measure(rounds: int = ROUNDS) -> Part:
    """All in turns, after a round that is not counted."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        home = Home(Path(folder))
        base = resolve.resolve(resolve.DEFAULT, home)
        renderer, numbers = Renderer(base.folder), count()
        plain, favoured = runner.run(engines(base.folder, home.cache))

        def alone(engine: LlamaCpp, adapter: str | None) -> Mapping[str, float]:
            return runner.run(decode(engine, adapter, prompt(renderer, PROMPT, f"alone {next(numbers)}")))

        def rotating(adapters: int) -> Mapping[str, float]:
            first = next(numbers) * AT_ONCE
            asked = [
                (f"a{at % adapters}", prompt(renderer, PROMPT, f"{at} of {adapters}"))
                for at in range(first, first + AT_ONCE)
            ]
            return runner.run(together(plain, asked))

        sides = {
            "the base": partial(alone, plain, None),
            "an adapter": partial(alone, plain, "a0"),
            "the favourite, merged": partial(alone, favoured, "a0"),
            **{f"{adapters} in rotation": partial(rotating, adapters) for adapters in COUNTS},
        }
        for side in sides.values():
            side()
        found = in_turns(sides, rounds)
        runner.run(asyncio.wait_for(asyncio.gather(plain.stop(), favoured.stop()), 60))
    alone_, turns = "tokens/s alone", f"tokens/s, {AT_ONCE} at once"
    rows = [Row(name, {heading: median(values) for heading, values in each.items()}) for name, each in found.items()]
    one, bare = found["1 in rotation"][turns], found["the base"][alone_]
    merged, unmerged = found["the favourite, merged"][alone_], found["an adapter"][alone_]
    claims = [
        Claim("8 in rotation, divided by 1", ratio(found["8 in rotation"][turns], one), rounds, goal=0.5),
        Claim("64 in rotation, divided by 1", ratio(found["64 in rotation"][turns], one), rounds),
        Claim("an adapter, divided by the base", ratio(unmerged, bare), rounds),
        Claim("the favourite, merged, divided by the base", ratio(merged, bare), rounds, goal=0.97),
    ]
    how = (
        f"LoRA r={R} on every linear layer of `{base.name}` at Q8_0, on Pumice's engine. Alone: an answer of {ALONE} "
        f"tokens, without its prompt. In rotation: {AT_ONCE} requests at once, each for the next adapter, with prompts "
        f"of {PROMPT} tokens and answers of {NEW}. {rounds} rounds in turns."
    )
    return Part(how, rows, claims)


async def engines(base: Path, cache: Path) -> tuple[LlamaCpp, LlamaCpp]:
    """One with all adapters, and one whose favourite is merged."""
    # In front, as reserved ones are: what else the machine does is not what is measured.
    plain = await llamacpp.start(base, cache=cache, nice=0)
    for at in range(max(COUNTS)):
        await plain.load_adapter(f"a{at}", adapter(base, cache / f"a{at}", at))
    favoured = await llamacpp.start(base, cache=cache, nice=0, favour=True)
    await favoured.load_adapter("a0", cache / "a0")
    await together(favoured, [("a0", [1])] * RECENT)
    for _ in range(120):
        if favoured.merged:
            return plain, favoured
        await asyncio.sleep(1)
    raise SystemExit("The favourite was not merged.")


def adapter(base: Path, out: Path, seed: int) -> Path:
    """A random LoRA on every linear layer, as peft saves it."""
    dice = np.random.default_rng(seed)
    weights = {}
    for entry in folder_entries(base):
        name = entry.name.removesuffix(".weight")
        if name.endswith("_proj"):
            for part, shape in (("A", (R, entry.shape[1])), ("B", (entry.shape[0], R))):
                values = dice.standard_normal(shape, np.float32) * np.float32(0.001)
                weights[f"base_model.model.{name}.lora_{part}.weight"] = values
    out.mkdir(parents=True)
    save_file(weights, out / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": R, "lora_alpha": R, "bias": "none", "target_modules": "all-linear"}
    (out / "adapter_config.json").write_text(json.dumps(config))
    return out


async def decode(engine: LlamaCpp, adapter: str | None, ids: Sequence[int]) -> dict[str, float]:
    """Tokens a second of one answer after its first."""
    times = []
    async for delta in engine.generate(Generate(ids, Sampling(max_tokens=ALONE), adapter)):
        times += [time.perf_counter()] * len(delta.ids)
    return {"tokens/s alone": (len(times) - 1) / (times[-1] - times[0])}


async def together(engine: LlamaCpp, asked: Sequence[tuple[str, Sequence[int]]]) -> dict[str, float]:
    """Tokens a second of all answers."""

    async def one(adapter: str, ids: Sequence[int]) -> int:
        request = Generate(ids, Sampling(max_tokens=NEW), adapter)
        return sum([len(delta.ids) async for delta in engine.generate(request)])

    began = time.perf_counter()
    made = await asyncio.gather(*(one(*each) for each in asked))
    return {f"tokens/s, {AT_ONCE} at once": sum(made) / (time.perf_counter() - began)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    record("adapters", measure(parser.parse_args().rounds))
