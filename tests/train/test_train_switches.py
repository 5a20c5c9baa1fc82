"""How a step is computed is told with its reasons, and follows from recipe, machine and what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.records import Base, Event, Tokens
from pumice.train import switches
from pumice.train.fast import blocks, products, segments
from pumice.train.loop import build
from pumice.train.recipe import make_recipe, resolve_recipe


def on(gpu: bool = False, squeezed: bool = False, **values: Any) -> set[str]:
    """Names of what is on."""
    recipe = make_recipe({"data": "/d/x", **values})
    return {switch.name for switch in switches.choose(recipe, gpu, squeezed).each() if switch.on}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"fast", "packing"}),
        ({"fast": False}, set()),
        ({"packing": False}, {"fast"}),
        ({"method": "prefix"}, {"fast"}),
        ({"method": "reward"}, {"fast"}),
        ({"squeezed": True}, {"fast", "packing", "gradient checkpointing"}),
        ({"gpu": True}, {"packing", "bf16", "flash attention", "Liger kernels"}),
        ({"gpu": True, "packing": False}, {"bf16", "Liger kernels"}),
        (
            {"gpu": True, "fast": False, "method": "qlora"},
            {"packing", "bf16", "flash attention", "Liger kernels", "4 bits"},
        ),
    ],
)
def test_what_is_on(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], expected: set[str]) -> None:
    monkeypatch.setattr(switches, "find_spec", lambda _: object())
    assert on(**values) == expected


def test_what_is_not_installed_is_off_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "find_spec", lambda _: None)
    chosen = switches.choose(make_recipe({"data": "/d/x"}), on_gpu=True, squeezed=False)
    assert (chosen.liger.on, chosen.liger.why) == (False, "liger_kernel is not installed")


@pytest.mark.parametrize("fast", [True, False])
def test_without_fast_nothing_of_ours_is_in_the_model(narrow: Base, tmp_path: Path, fast: bool) -> None:
    rows = [Tokens((1000, 1001, 1002), (-100, 1001, 1002))] * 2
    values = {"data": "/d/x", "epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "fast": fast}
    recipe = resolve_recipe(make_recipe(values), narrow, 2, 6).recipe
    events: list[Event] = []
    trainer: Any = build(recipe, narrow, rows, tmp_path, None, events.append)
    ours = {
        module.forward.__func__
        for module in trainer.model.modules()
        if isinstance(module, torch.nn.Module) and "forward" in vars(module)
    }
    assert ({blocks._norm, products._forward} <= ours) is fast
    assert (trainer.model.config._attn_implementation == segments.ATTENTION) is fast
    assert (trainer.in_parts, trainer.fast_loss) == (fast, fast)
    padded = "The rows are padded, not packed: without fast nothing packs on a CPU. Slower, with the same result."
    assert (padded in [event.data["text"] for event in events]) is not fast
