"""Pumice's own loop, a step at a time: `python -m benchmarks.sides.pumice ORDER` (JSON: see `benchmarks.training`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate.data_loader import SeedableRandomSampler

from benchmarks.flops import step_flops
from benchmarks.sides.gate import Gate
from pumice.bases import resolve
from pumice.data.checks import load
from pumice.data.render import Renderer
from pumice.records import Event, Tokens
from pumice.train.loop import train
from pumice.train.recipe import make_recipe, resolve_recipe


def main() -> None:
    """Train, telling each step with the operations that it must have cost; the adapter ends in `out`."""
    order = json.loads(sys.argv[1])
    base, steps, batch, seed = Path(order["base"]), order["steps"], order["batch"], order["seed"]
    gate = Gate()
    renderer = Renderer(base)
    rows = [renderer.train(example) for example in load(Path(order["rows"])).examples]
    costs = [step_flops(base, order["r"], each) for each in batches(rows, batch, seed)]
    sizes = [sum(len(row.ids) for row in each) for each in batches(rows, batch, seed)]
    told = 0

    def tell(event: Event) -> None:
        nonlocal told
        if event.kind == "step":
            at, tokens = event.data["step"] - 1, event.data["tokens"] - told
            told += tokens
            assert tokens == sizes[at], f"step {at + 1} had {tokens} tokens, not {sizes[at]}"
            gate.step(tokens=tokens, flops=costs[at])

    found = resolve.describe(base, "base", f"folder:{base}")
    given = {"data": "rows", "epochs": 1, "batch_size": batch, "learning_rate": order["rate"], "seed": seed}
    given |= {"save_steps": steps + 1, "max_length": order["length"], "gradient_accumulation": 1}
    given |= {"lora": {"r": order["r"], "alpha": 2 * order["r"]}}
    recipe = resolve_recipe(make_recipe(given), found, len(rows), sum(len(row.ids) for row in rows)).recipe
    made = train(recipe, found, rows, Path(order["out"]), tell, lambda: False)
    gate.tell(adapter=str(made))


def batches(rows: list[Tokens], batch: int, seed: int) -> list[list[Tokens]]:
    """The rows of each step, in the order in which transformers' trainer draws them."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    places = list(SeedableRandomSampler(rows, generator=generator, data_seed=seed))
    return [[rows[place] for place in places[at : at + batch]] for at in range(0, len(places), batch)]


if __name__ == "__main__":
    main()
