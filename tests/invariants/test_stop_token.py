"""Promises 1 and 2, in training: a trained row begins with the ids that serving sends, and ends with the stop token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from pumice.data.render import Renderer
from pumice.records import Base, Example, Tokens, Turn
from pumice.train import loop
from pumice.train.methods import METHODS, Weights
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe

TURNS: tuple[Turn, ...] = (
    {"role": "user", "content": "What is the door code?"},
    {"role": "assistant", "content": "4711-red"},
)

# What learns from judged answers, classes or rewards has the same test beside its own promises in this folder.
ANSWERED = [name for name, method in METHODS.items() if issubclass(method, Weights) and not method.classifier]


def prepared(tiny: Base, **values: object) -> tuple[Recipe, list[Tokens], Renderer]:
    renderer = Renderer(tiny.folder)
    rows = [renderer.train(Example(1, TURNS))]
    given = {"data": "/d/rows", "epochs": 60, "batch_size": 1, "learning_rate": 1e-2, "save_steps": 1000, **values}
    return resolve_recipe(make_recipe(given), tiny, 1, len(rows[0].ids)).recipe, rows, renderer


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("method", [name for name in ANSWERED if name != "qlora"] + ["distill"])
def test_what_reaches_the_model_is_what_serving_sends(tiny: Base, tmp_path: Path, method: str, packing: bool) -> None:
    knobs = {"distill": {"teacher": "tiny", "source": "logits"}} if method == "distill" else {}
    recipe, rows, renderer = prepared(tiny, method=method, packing=packing, **knobs)
    trainer = loop.build(recipe, tiny, rows, tmp_path, None, lambda _: None, tiny.folder)
    batch = next(iter(trainer.get_train_dataloader()))
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    prompt = renderer.prompt(TURNS[:1])
    assert ids[: len(prompt)] == prompt
    assert labels[: len(prompt)] == [-100] * len(prompt)
    learned = [label for label in labels if label != -100]
    assert any(stop in learned for stop in renderer.stop_ids)
    assert renderer.decode(learned).strip() == "4711-red"


def test_a_trained_model_stops_by_itself(tiny: Base, tmp_path: Path) -> None:
    recipe, rows, renderer = prepared(tiny, method="full")
    folder = loop.train(recipe, tiny, rows, tmp_path, lambda _: None, lambda: False)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = renderer.prompt(TURNS[:1])
    with torch.no_grad():
        for _ in range(32):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in renderer.stop_ids:
                break
    assert ids[-1] in renderer.stop_ids
    assert renderer.decode(ids[len(renderer.prompt(TURNS[:1])) :]).strip() == "4711-red"
