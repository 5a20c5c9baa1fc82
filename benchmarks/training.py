"""How fast, and in how much memory, Pumice trains beside TRL's defaults: same rows, base, LoRA r=16, 8 rows a step.

    python -m benchmarks.training [--data FILE] [--base FOLDER] [--steps 5]

Each runs in a process of its own. Tokens are those of the rows, never padding. Without `--data` the rows are made up:
questions of 20 words and answers of 10 to 150.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pumice.bases import resolve
from pumice.config import read_environment
from pumice.data.checks import load
from pumice.data.render import Renderer
from pumice.records import Example

BATCH = 8
WORDS = [
    "the",
    "base",
    "of",
    "a",
    "model",
    "is",
    "what",
    "it",
    "was",
    "before",
    "and",
    "after",
    "training",
    "it",
    "answers",
    "as",
    "your",
    "data",
    "says",
    "so",
    "that",
    "people",
    "who",
    "ask",
    "about",
    "invoices",
    "refunds",
    "orders",
    "delivery",
    "warranty",
    "or",
    "the",
    "colour",
    "of",
    "a",
    "door",
    "get",
    "one",
    "short",
    "and",
    "true",
    "answer",
    "every",
    "time",
]
SIDES = ("trl", "pumice")


def main(data: Path | None = None, base: Path | None = None, steps: int = 5) -> dict[str, dict[str, float]]:
    """Measure both, print a table. Returns for each tokens, seconds, tokens a second and peak memory in GB."""
    folder = base or resolve.resolve(resolve.DEFAULT, read_environment().home).folder
    with tempfile.TemporaryDirectory() as place:
        path = data or made_up(Path(place) / "rows.jsonl", BATCH * steps)
        found = {side: measure(side, path, folder, steps) for side in SIDES}
    print(f"{'':10} {'tokens':>8} {'seconds':>9} {'tokens/s':>9} {'peak GB':>8}")
    for side, one in found.items():
        print(f"{side:10} {one['tokens']:8,.0f} {one['seconds']:9.1f} {one['rate']:9.0f} {one['peak']:8.1f}")
    trl, ours = found["trl"], found["pumice"]
    print(f"Pumice: {ours['rate'] / trl['rate']:.1f} times the speed, {ours['peak'] / trl['peak']:.2f} of the memory.")
    return found


def made_up(path: Path, rows: int) -> Path:
    """Questions and answers of random words."""
    dice = random.Random(0)
    with path.open("w") as file:
        for _ in range(rows):
            question, answer = dice.choices(WORDS, k=20), dice.choices(WORDS, k=dice.randrange(10, 150))
            file.write(json.dumps({"prompt": " ".join(question), "completion": " ".join(answer)}) + "\n")
    return path


def measure(side: str, data: Path, base: Path, steps: int) -> dict[str, float]:
    """Run one side in a child process."""
    given = ["--child", side, "--data", str(data), "--base", str(base), "--steps", str(steps)]
    quiet = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "benchmarks.training", *given]
    done = subprocess.run(command, capture_output=True, check=True, env=quiet, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(side: str, data: Path, base: Path, steps: int) -> None:
    """Train and print one line of JSON."""
    examples = list(load(data).examples)[: BATCH * steps]
    tokens, seconds = (with_pumice if side == "pumice" else with_trl)(examples, base, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"tokens": tokens, "seconds": seconds, "rate": tokens / seconds, "peak": peak}))


def with_pumice(examples: Sequence[Example], base: Path, steps: int) -> tuple[int, float]:
    """Tokens and seconds of the steps alone."""
    from pumice.records import Event
    from pumice.train.loop import train
    from pumice.train.recipe import make_recipe, resolve_recipe

    found = resolve.describe(base, "base", f"folder:{base}")
    renderer = Renderer(base)
    rows = [renderer.train(example) for example in examples]
    told: list[Event] = []
    given = {"data": "rows", "epochs": 1, "batch_size": BATCH, "learning_rate": 5e-4, "save_steps": steps + 1}
    recipe = resolve_recipe(make_recipe(given), found, len(rows), sum(len(row.ids) for row in rows)).recipe
    with tempfile.TemporaryDirectory() as place:
        train(recipe, found, rows, Path(place), told.append, lambda: False)
    last = [event.data for event in told if event.kind == "step"][-1]
    return last["tokens"], last["tokens"] / last["tokens_per_second"]


def with_trl(examples: Sequence[Example], base: Path, steps: int) -> tuple[int, float]:
    """The same, as TRL does it when only the batch size is set."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    rows = [{"prompt": list(one.messages[:-1]), "completion": list(one.messages[-1:])} for one in examples]
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as place:
        arguments = SFTConfig(
            output_dir=place,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=5e-4,
            save_strategy="no",
            report_to="none",
            include_num_input_tokens_seen="non_padding",
            use_cpu=True,
        )
        trainer = SFTTrainer(str(base), arguments, train_dataset=Dataset.from_list(rows), peft_config=adapter)
        began = time.perf_counter()
        trainer.train()
        return trainer.state.num_input_tokens_seen, time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="question and answer rows; by default made up")
    parser.add_argument("--base", type=Path, help="a base model's folder; by default the default base")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.data, given.base, given.steps)
    else:
        main(given.data, given.base, given.steps)
