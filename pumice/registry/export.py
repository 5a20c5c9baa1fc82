"""A registered model as files for other programs, and the measured difference that came of it. Knows no jobs.

Before an export gets its name it is run, by the program it is for, and compared with the model itself.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil

from pumice.data.render import Renderer
from pumice.engine import gguf, hf, merge
from pumice.engine.child import Child
from pumice.engine.contract import Engine, Generate, Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.records import Base, Model
from pumice.registry.models import Registry
from pumice.store.files import sha256_file, sha256_folder_weights

SAFETENSORS = "safetensors"
GGUF: Mapping[str, gguf.Quant] = {"gguf-f16": "f16", "gguf-q8_0": "q8_0", "gguf-q4_0": "q4_0"}
PROMPTS = (
    "What is your name?",
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "How do I sort a list in Python?",
    "Was ist der Unterschied zwischen Wetter und Klima?",
)
TOP = 20
"""Log-probabilities that are compared a prompt: those of the likeliest next tokens."""
CONTEXT = 512

Next = Mapping[int, float]
"""The likeliest next tokens with their log-probabilities, best first; empty when the answer ends here."""


async def export(model: Model, base: Base, format: str, out: Path, pool: Pool, registry: Registry) -> Mapping[str, Any]:
    """Write `model` to `out` as a whole model and record it; `base` is the one that it was trained on.

    `safetensors` makes a folder, `gguf-f16`, `gguf-q8_0` and `gguf-q4_0` one file with tokenizer and chat template.
    Returns path, sha256, the largest and the mean difference of next-token log-probabilities in nats, and the
    fraction of prompts whose likeliest token is the same. Raises `InputError` when `out` exists or cannot be made.
    """
    registry.check_base(model, base)
    check(model, base, format, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        part = Path(folder) / out.name
        await asyncio.to_thread(write, model, base, format, part)
        prompts = probes(base)
        expected = await ask_model(model, base, prompts, pool)
        if format == SAFETENSORS:
            got = await ask_folder(part, prompts, Path(folder))
            sha256 = sha256_folder_weights(part)
        else:
            got = await ask_gguf(part, prompts, Path(folder))
            sha256 = sha256_file(part)
        part.rename(out)
    result = {"path": str(out.resolve()), "sha256": sha256, **difference(expected, got)}
    registry.record_export(model.id, format, result)
    return result


def check(model: Model, base: Base, format: str, out: Path) -> None:
    """Whether it can be done, before anything is written."""
    if format != SAFETENSORS and format not in GGUF:
        raise InputError(f"format {format!r} is unknown.", fix=f"Choose one of {', '.join([SAFETENSORS, *GGUF])}.")
    if out.exists():
        raise InputError(f"{out} exists already, and an export overwrites nothing.", fix="Name another with --out.")
    if model.adapter and (why_not := merge.why_not(model.folder)):
        raise InputError(
            f"{model.id} cannot be exported as a whole model: {why_not}.",
            "Only what changes the base's own weights becomes a part of them: lora, rslora, qlora, dora and ia3.",
            f"Copy its folder, which peft loads over the base: {model.folder}. For a whole model, train with lora.",
        )
    reason = gguf.can_convert(base.folder if model.adapter else model.folder)
    if reason and format in GGUF:
        fix = f"pumice models export {model.id} --format {SAFETENSORS}"
        raise InputError(f"{model.id} cannot become a GGUF file: {reason}.", fix=fix)


def write(model: Model, base: Base, format: str, out: Path) -> None:
    """The export itself, unmeasured."""
    if format == SAFETENSORS:
        write_whole(model, base, out)
    elif model.adapter:
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            merged = Path(folder) / "merged"
            write_whole(model, base, merged)
            gguf.write_model(merged, out, GGUF[format])
    else:
        gguf.write_model(model.folder, out, GGUF[format])


def write_whole(model: Model, base: Base, out: Path) -> None:
    """A folder that transformers loads without an adapter."""
    if model.adapter:
        merge.merge(base.folder, model.folder, out)
    else:
        shutil.copytree(model.folder, out)


def probes(base: Base) -> list[list[int]]:
    """The prompts as the base's own ids: what `/v1` would send, or the bare text for a base without a template."""
    renderer = Renderer(base.folder)
    if not base.template_sha256:
        return [renderer.encode(prompt) for prompt in PROMPTS]
    return [renderer.prompt([{"role": "user", "content": prompt}]) for prompt in PROMPTS]


async def ask_model(model: Model, base: Base, prompts: Sequence[Sequence[int]], pool: Pool) -> list[Next]:
    """What the registered model itself answers, at full precision."""
    engine = await pool.scorer(base.folder if model.adapter else model.folder)
    if not model.adapter:
        return await ask(engine, prompts, None)
    await engine.load_adapter(model.id, model.folder)
    return await ask(engine, prompts, model.id)


async def ask_folder(folder: Path, prompts: Sequence[Sequence[int]], cache: Path) -> list[Next]:
    """What transformers answers with an exported folder."""
    engine = await hf.start(folder, cache=cache)
    try:
        return await ask(engine, prompts, None)
    finally:
        await engine.stop()


async def ask(engine: Engine, prompts: Sequence[Sequence[int]], adapter: str | None) -> list[Next]:
    """The next token after each prompt; of a classifier the classes instead, or the one score."""
    if engine.capabilities.classify:
        return [classes(values) for values in await engine.classify(prompts)]
    answers: list[Next] = []
    for ids in prompts:
        request = Generate(ids, Sampling(max_tokens=1, logprobs=TOP), adapter)
        async with aclosing(engine.generate(request)) as deltas:
            tokens = [token async for delta in deltas for token in delta.logprobs]
        answers.append(dict(tokens[0].top) if tokens else {})
    return answers


def classes(values: Sequence[float]) -> Next:
    """Classes in the place of tokens; a single score stands for its own logarithm."""
    if len(values) == 1:
        return {0: values[0]}
    named = {at: math.log(max(value, sys.float_info.min)) for at, value in enumerate(values)}
    return dict(sorted(named.items(), key=lambda item: -item[1]))


async def ask_gguf(file: Path, prompts: Sequence[Sequence[int]], cache: Path) -> list[Next]:
    """What llama.cpp answers with an exported file, as anyone would run it."""
    threads = psutil.cpu_count(logical=False) or 1
    orders = {"model": str(file), "adapters": [], "context": CONTEXT, "slots": 1, "threads": threads, "exact": False}
    child = await Child.start("pumice.engine.llamacpp_child", orders, f"llama.cpp with {file.name}", cache)
    try:
        return [await ask_child(child, ids) for ids in prompts]
    finally:
        await child.stop()


async def ask_child(child: Child, ids: Sequence[int]) -> Next:
    """The next token, not streamed: such a file holds a token back that cuts a character."""
    asked = {"prompt": list(ids), "n_predict": 1, "n_probs": TOP, "temperature": 0.0, "top_k": 1, "samplers": ["top_k"]}
    answer = await child.post("/completion", asked)
    tokens = answer.get("completion_probabilities", [])
    return {each["id"]: each["logprob"] for each in tokens[0]["top_logprobs"]} if tokens else {}


def difference(expected: Sequence[Next], got: Sequence[Next]) -> dict[str, float]:
    """Largest and mean difference over the tokens that both report, and how often the likeliest is the same."""
    pairs = list(zip(expected, got, strict=True))
    gaps = [abs(one[id_] - other[id_]) for one, other in pairs for id_ in one.keys() & other.keys()]
    agreed = sum(next(iter(one), None) == next(iter(other), None) for one, other in pairs)
    if not gaps and agreed < len(pairs):
        raise InputError(
            "The export shares none of the model's likeliest next tokens on any prompt.",
            "It is another model, so nothing was kept.",
            "Try another format; if all of them fail, this is a fault of Pumice.",
        )
    mean = sum(gaps) / max(len(gaps), 1)
    return {"max_difference": max(gaps, default=0.0), "mean_difference": mean, "agreement": agreed / len(pairs)}
