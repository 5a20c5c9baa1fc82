"""Promise 4: packing, and how a step is cut into batches, change speed and memory, never the result."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pumice.records import Base, Event, Tokens
from pumice.train import sizes
from pumice.train.loop import train
from pumice.train.recipe import make_recipe, resolve_recipe


def made_rows() -> list[Tokens]:
    """Eleven rows of very different lengths: chats with two answers, and texts that are trained from the start."""
    dice = random.Random(2)
    rows = []
    for number in range(11):
        ids = tuple(dice.randrange(1000, 2000) for _ in range(dice.choice((3, 9, 40))))
        first, second = len(ids) // 3, 2 * len(ids) // 3
        labels = ids[:first] + (-100,) * (second - first) + ids[second:] if number % 2 else ids
        rows.append(Tokens(ids, labels))
    return rows


def trajectory(
    base: Base, folder: Path, events: list[Event] | None = None, **values: Any
) -> tuple[list[float], dict[str, torch.Tensor]]:
    rows, events = made_rows(), [] if events is None else events
    given = {"data": "/d/rows", "epochs": 2, "learning_rate": 1e-3, "save_steps": 100, **values}
    recipe = resolve_recipe(make_recipe(given), base, len(rows), sum(len(row.ids) for row in rows)).recipe
    artifact = train(recipe, base, rows, folder, events.append, lambda: False)
    losses = [event.data["loss"] for event in events if event.kind == "step"]
    weights = "adapter_model.safetensors" if recipe.method == "lora" else "model.safetensors"
    return losses, load_file(artifact / weights)


@pytest.fixture(scope="module")
def reference(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four rows a step, padded, and nothing of Pumice's own in it."""
    slow = {"fast": False, "packing": False, "batch_size": 4, "gradient_accumulation": 1}
    return {
        method: trajectory(tiny, tmp_path_factory.mktemp(method), method=method, **slow) for method in ("lora", "full")
    }


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize(
    ("packing", "batch_size", "gradient_accumulation"),
    [(True, 4, 1), (True, 2, 2), (True, 1, 4), (False, 2, 2), (False, 1, 4)],
)
def test_the_same_rows_a_step_give_the_same_trajectory(
    tiny: Base,
    reference: dict[str, Any],
    tmp_path: Path,
    method: str,
    packing: bool,
    batch_size: int,
    gradient_accumulation: int,
) -> None:
    cut = {"packing": packing, "batch_size": batch_size, "gradient_accumulation": gradient_accumulation}
    losses, weights = trajectory(tiny, tmp_path, method=method, **cut)
    expected_losses, expected = reference[method]
    assert losses == pytest.approx(expected_losses, abs=1e-4)
    assert weights.keys() == expected.keys()
    # Adam makes a full step of the smallest gradient, so weights differ by rounding where a gradient is almost zero.
    distance = sum(float((weights[name] - expected[name]).square().sum()) for name in expected) ** 0.5
    size = sum(float(expected[name].square().sum()) for name in expected) ** 0.5
    assert distance < 1e-3 * size


@pytest.mark.parametrize("method", ["lora", "full"])
def test_short_memory_changes_nothing_but_speed(
    tiny: Base, reference: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Where a step does not fit, activations are computed twice."""
    monkeypatch.setattr(sizes.Machine, "available", lambda *_: 1_000_000)
    events: list[Event] = []
    losses, weights = trajectory(tiny, tmp_path, events, method=method, batch_size=4, gradient_accumulation=1)
    assert any("activations are computed twice" in event.data.get("text", "") for event in events)
    assert losses == pytest.approx(reference[method][0], abs=1e-4)
    assert weights.keys() == reference[method][1].keys()


def test_other_rows_a_step_give_another_trajectory(tiny: Base, reference: dict[str, Any], tmp_path: Path) -> None:
    losses, _ = trajectory(tiny, tmp_path, batch_size=2, gradient_accumulation=1)
    assert len(losses) == 12 and len(reference["lora"][0]) == 6
