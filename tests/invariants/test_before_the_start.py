"""Promises 3, 8 and 9: what is trained on is counted, precision fits the hardware, and a rehearsal leaves no trace."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from pumice.errors import InputError
from pumice.records import Base, Event, Tokens
from pumice.train import checkpoints, loop
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe


def made_rows() -> list[Tokens]:
    dice = random.Random(4)
    ids = [tuple(dice.randrange(1000, 2000) for _ in range(length)) for length in (5, 30, 8, 12, 19, 7)]
    return [Tokens(one, (-100, -100, *one[2:])) for one in ids]


def recipe_for(base: Base, **values: Any) -> Recipe:
    given = {"data": "/d/rows", "epochs": 2, "batch_size": 2, "learning_rate": 1e-2, "lora": {"dropout": 0.3}, **values}
    return resolve_recipe(make_recipe(given), base, 6, 81).recipe


def test_a_row_that_trains_on_nothing_is_refused(tiny: Base, tmp_path: Path) -> None:
    rows = [*made_rows(), Tokens((1, 2, 3), (1, -100, -100))]
    with pytest.raises(InputError, match="Row 7 trains on nothing: none of its 3 tokens is an answer"):
        loop.train(recipe_for(tiny), tiny, rows, tmp_path, lambda _: None, lambda: False)
    assert not list(tmp_path.iterdir())


def test_tokens_memory_and_time_are_told_before_the_first_step(tiny: Base, tmp_path: Path) -> None:
    events: list[Event] = []
    loop.train(recipe_for(tiny), tiny, made_rows(), tmp_path, events.append, lambda: False)
    before = [event.data for event in events[: [event.kind for event in events].index("step")]]
    assert (before[0]["trained_tokens"], before[0]["total_tokens"]) == (69, 81)
    assert before[1]["memory_bytes"] > 0 and before[1]["seconds"] > 0
    assert before[2]["peak_memory_bytes"] > 0


def test_the_rehearsal_runs_the_longest_batch_an_evaluation_and_a_save(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    build, mark = loop.build, checkpoints.mark

    def watched(*given: Any) -> Any:
        trainer = build(*given)
        compute = trainer.compute_loss

        def compute_loss(model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            seen.append((inputs["input_ids"].numel(), torch.is_grad_enabled(), model.training))
            return compute(model, inputs, *rest, **more)

        trainer.compute_loss = compute_loss
        return trainer

    def marked(checkpoint: Path) -> None:
        seen.append((checkpoint.parent.name.split("-")[0], {path.name for path in checkpoint.iterdir()}))
        mark(checkpoint)

    monkeypatch.setattr(loop, "build", watched)
    monkeypatch.setattr(checkpoints, "mark", marked)
    loop.train(recipe_for(tiny), tiny, made_rows(), tmp_path, lambda _: None, lambda: False)
    longest, evaluation, (place, files) = seen[:3]
    assert longest == (49, True, True)
    assert evaluation == (49, False, False)
    assert place == "rehearsal"
    assert {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= files


def test_the_rehearsal_leaves_no_trace(tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, so that one random number more or less would show."""

    def run(folder: Path) -> tuple[list[float], int, bytes]:
        events: list[Event] = []
        made = loop.train(recipe_for(tiny), tiny, made_rows(), folder, events.append, lambda: False)
        steps = [event.data for event in events if event.kind == "step"]
        return [step["loss"] for step in steps], steps[-1]["tokens"], (made / "adapter_model.safetensors").read_bytes()

    rehearsed = run(tmp_path / "rehearsed")
    monkeypatch.setattr(loop, "rehearse", lambda *_: 0.0)
    assert run(tmp_path / "plain") == rehearsed


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_cpu_computes_in_fp32(tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    kinds: set[torch.dtype] = set()
    build = loop.build

    def watched(*given: Any) -> Any:
        trainer = build(*given)

        class Look(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                kinds.update(weight.dtype for weight in trainer.model.parameters())
                kinds.update(one.dtype for values in trainer.optimizer.state.values() for one in values.values())
                assert not args.bf16 and not args.fp16 and not torch.is_autocast_enabled("cpu")

        trainer.add_callback(Look())
        return trainer

    monkeypatch.setattr(loop, "build", watched)
    knobs = {} if method == "lora" else {"lora": None}
    recipe = recipe_for(tiny, method=method, epochs=0.5, **knobs)
    loop.train(recipe, tiny, made_rows(), tmp_path, lambda _: None, lambda: False)
    assert kinds == {torch.float32}
