"""How near the estimate of memory is to what a run takes: full and LoRA on three sizes of model, on a CPU.

    python -m benchmarks.memory [--base FOLDER] [--only NAME]

Each run is a process of its own; its peak is that of the whole process. The two small models have random weights, the
large one is the default base.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pumice.bases import resolve
from pumice.config import read_environment
from pumice.records import Base, Tokens

SHAPES = {"8M": (128, 4, 2), "50M": (512, 10, 8)}
"""Width, layers and heads; the default base is the third size."""
METHODS = ("lora", "full")
ROWS = {"short": (8, 64), "long": (4, 512)}
"""Rows a step, and tokens in each."""


def main(base: Base, only: str | None) -> dict[str, float]:
    """Measure every pair, print a table. Returns the ratio of estimate to peak by size, method and rows."""
    ratios = {}
    print(f"{'model':6} {'method':8} {'rows':6} {'estimate GB':>12} {'peak GB':>8} {'ratio':>6}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for size, place in bases(base, Path(folder)):
            for method in METHODS:
                for name, (count, length) in ROWS.items():
                    if only and only not in (size, method, name):
                        continue
                    orders = [method, str(place), str(count), str(length)]
                    done = subprocess.run(
                        [sys.executable, "-m", "benchmarks.memory", "--child", *orders], capture_output=True, text=True
                    )
                    assert done.returncode == 0, done.stderr
                    told = json.loads(done.stdout.splitlines()[-1])
                    ratio = ratios[f"{size} {method} {name}"] = told["estimate"] / told["peak"]
                    numbers = f"{told['estimate'] / 1e9:12.2f} {told['peak'] / 1e9:8.2f} {ratio:6.2f}"
                    print(f"{size:6} {method:8} {name:6} {numbers}", flush=True)
    return ratios


def bases(base: Base, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each size with its folder; the small ones are made."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    for name, (width, layers, heads) in SHAPES.items():
        place = folder / name
        torch.manual_seed(0)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=base.vocabulary,
                hidden_size=width,
                intermediate_size=round(width * 2.7),
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=heads,
                max_position_embeddings=2048,
                tie_word_embeddings=True,
            )
        ).save_pretrained(place)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(base.folder / file, place / file)
        yield name, place
    yield "135M", base.folder


def child(method: str, folder: Path, count: int, length: int) -> None:
    """Train two steps and print the estimate and the peak, as JSON."""
    from pumice.records import Event
    from pumice.train.loop import train
    from pumice.train.recipe import make_recipe, resolve_recipe

    base = resolve.describe(folder, "measured", f"folder:{folder}")
    dice = random.Random(0)
    rows = []
    for _ in range(2 * count):
        ids = tuple(dice.randrange(100, 4000) for _ in range(length))
        rows.append(Tokens(ids, (-100,) * (length // 2) + ids[length // 2 :]))
    values = {"data": "/d/x", "method": method, "batch_size": count, "gradient_accumulation": 1, "epochs": 1}
    recipe = resolve_recipe(make_recipe(values), base, len(rows), length * len(rows)).recipe
    told: dict[str, int] = {}

    def tell(event: Event) -> None:
        if "memory_bytes" in event.data:
            told["estimate"] = event.data["memory_bytes"]

    with tempfile.TemporaryDirectory() as place:
        train(recipe, base, rows, Path(place), tell, lambda: False)
    told["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(told))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--child", nargs=4)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]), int(given.child[2]), int(given.child[3]))
    else:
        home = read_environment().home
        found = resolve.describe(given.base, "base", "folder") if given.base else resolve.resolve(resolve.DEFAULT, home)
        main(found, given.only)
