"""The loss of rows that are not trained on is told while training, is the loss that it says, and changes nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pumice.data.token_rows import Rows
from pumice.errors import StoppedError
from pumice.records import Base, Event, Tokens
from pumice.train import loop, validation
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"lora": {"dropout": 0.1}},
    "full": {},
    "last-layers": {},
    "prompt": {},
    "dpo": {},
    "kto": {},
    "orpo": {},
    "reward": {"reward": {"weights": "lora"}, "lora": {"dropout": 0.1}},
    "head": {},
}


def made_rows(method: str, count: int, seed: int) -> list[Tokens]:
    """Answers that follow from their prompts, as `method` reads them."""
    dice, rows = random.Random(seed), []
    for number in range(count):
        prompt = tuple(dice.randrange(1000, 1900) for _ in range(dice.randrange(3, 9)))
        good, bad = ((*prompt, *([word] * dice.randrange(3, 6))) for word in (1001, 1901))
        row, other = (Tokens(ids, (*[-100] * len(prompt), *ids[len(prompt) :])) for ids in (good, bad))
        rows.append(
            {
                "dpo": replace(row, rejected=other),
                "orpo": replace(row, rejected=other),
                "reward": Tokens(good, (), Tokens(bad, ())),
                "kto": replace(row if number % 2 else other, label=bool(number % 2)),
                "head": Tokens(good if number % 2 else bad, (), label="ab"[number % 2]),
            }.get(method, row)
        )
    return rows


def recipe_of(base: Base, method: str, rows: list[Tokens]) -> Recipe:
    values = {"data": "/d", "epochs": 3, "batch_size": 3, "learning_rate": 5e-3, "save_steps": 5, **METHODS[method]}
    made = make_recipe({**values, "method": method})
    return resolve_recipe(made, base, len(rows), sum(row.size for row in rows)).recipe


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def looks(events: Sequence[Event]) -> dict[int, float]:
    return {event.data["step"]: event.data["validation_loss"] for event in events if event.kind == "validation"}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("method", METHODS)
def test_it_falls_and_the_weights_are_those_of_a_training_without_it(narrow: Base, tmp_path: Path, method: str) -> None:
    rows, unseen = made_rows(method, 20, 1), made_rows(method, 7, 2)
    recipe, events = recipe_of(narrow, method, rows), list[Event]()
    with_it = loop.train(recipe, narrow, rows, tmp_path / "a", events.append, lambda: False, unseen=unseen)
    without = loop.train(recipe, narrow, rows, tmp_path / "b", lambda _: None, lambda: False)
    told = looks(events)
    assert min(told) == 0 and max(told) == 21 and len(told) > 3
    assert told[21] < told[0]
    alone = weights(without)
    assert alone and all(torch.equal(value, alone[name]) for name, value in weights(with_it).items())


def mean_loss(model: Any, rows: list[Tokens]) -> float:
    """Nats a label, by plain transformers."""
    counts = [sum(label != -100 for label in row.labels) for row in rows]
    with torch.no_grad():
        found = [float(model(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss) for row in rows]
    return sum(loss * count for loss, count in zip(found, counts, strict=True)) / sum(counts)


def test_it_is_the_mean_over_the_labels_that_transformers_finds(narrow: Base, tmp_path: Path) -> None:
    rows, unseen, events = made_rows("lora", 20, 1), made_rows("lora", 7, 2), list[Event]()
    recipe = recipe_of(narrow, "lora", rows)
    artifact = loop.train(recipe, narrow, rows, tmp_path, events.append, lambda: False, unseen=unseen)
    assert (read := next(event.data["rows"] for event in events if event.kind == "validation")) > 1
    model = AutoModelForCausalLM.from_pretrained(narrow.folder, dtype=torch.float32)
    assert looks(events)[0] == pytest.approx(mean_loss(model, unseen[:read]), rel=1e-4)
    tuned = PeftModel.from_pretrained(model, artifact)
    assert looks(events)[21] == pytest.approx(mean_loss(tuned, unseen[:read]), rel=1e-4)


def test_a_resumed_training_looks_where_an_unbroken_one_does(narrow: Base, tmp_path: Path) -> None:
    rows, unseen = made_rows("lora", 20, 1), made_rows("lora", 7, 2)
    recipe, unbroken, broken = recipe_of(narrow, "lora", rows), list[Event](), list[Event]()
    loop.train(recipe, narrow, rows, tmp_path / "a", unbroken.append, lambda: False, unseen=unseen)
    stop = lambda: sum(event.kind == "step" for event in broken) == 10  # noqa: E731
    with pytest.raises(StoppedError):
        loop.train(recipe, narrow, rows, tmp_path / "b", broken.append, stop, unseen=unseen)
    loop.train(recipe, narrow, rows, tmp_path / "b", broken.append, lambda: False, unseen=unseen)
    assert looks(broken) == looks(unbroken)
    assert [event.data["step"] for event in broken if event.kind == "validation"] == sorted(looks(unbroken))


@pytest.mark.parametrize(
    ("rows", "unseen", "steps", "epochs", "most"),
    [(2000, 300, 750, 3, 20), (200, 30, 75, 3, 20), (40, 300, 15, 3, 20), (10, 30, 2, 1, 2), (5, 30, 6, 3, 6)],
)
def test_it_takes_a_twentieth_of_the_time_or_one_look_an_epoch(
    rows: int, unseen: int, steps: int, epochs: int, most: int
) -> None:
    trained, others = Rows.of(made_rows("lora", rows, 1)), Rows.of(made_rows("lora", unseen, 2))
    few = validation.chosen(others, trained)
    found = validation.steps_of(steps, epochs, few, trained)
    assert len(few) <= validation.MOST_ROWS and len(found) <= most
    assert not found or (max(found) == steps and min(found) > 0 and len(found) >= min(epochs, steps))
    spent = len(found) * int(few.sizes.sum()) / 3
    assert spent <= validation.SHARE * epochs * int(trained.sizes.sum()) * 1.01


def test_without_rows_nothing_is_told(narrow: Base, tmp_path: Path) -> None:
    rows, events = made_rows("lora", 20, 1), list[Event]()
    loop.train(recipe_of(narrow, "lora", rows), narrow, rows, tmp_path, events.append, lambda: False)
    assert not looks(events)
