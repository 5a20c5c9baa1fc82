"""Promises 1, 4 and 5 for heads and reward models: the same ids, the same step, the same weights after a kill."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from pumice.api.openai.classify import ClassifyRequest, texts
from pumice.api.served import Served
from pumice.data.render import Renderer
from pumice.records import Base, Event, Example, Tokens, Turn
from pumice.train.loop import build, save, train
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe

METHODS = ("head", "reward")


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def made_rows(method: str) -> list[Tokens]:
    """Ten rows of several lengths: the last batch of an epoch is smaller than the others."""
    dice = random.Random(3)
    ids = [tuple(dice.randrange(1000, 2000) for _ in range(dice.randrange(4, 24))) for _ in range(20)]
    if method == "head":
        return [Tokens(one, (), label="ab"[at % 2]) for at, one in enumerate(ids[:10])]
    rows = [Tokens(one, one) for one in ids]
    return [replace(chosen, rejected=rejected) for chosen, rejected in zip(rows[::2], rows[1::2], strict=True)]


def recipe_for(method: str, base: Base, **values: Any) -> Recipe:
    own = {"blocks": 1} if method == "head" else {"weights": "lora"}
    shared = {"data": "/d/rows", "method": method, "learning_rate": 1e-3, method: own, "save_steps": 2}
    return resolve_recipe(make_recipe({**shared, **values}), base, 10, 140).recipe


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("method", METHODS)
def test_batches_that_are_summed_up_are_one_large_batch(tiny: Base, tmp_path: Path, method: str) -> None:
    found = []
    for size, together in ((6, 1), (3, 2)):
        recipe = recipe_for(method, tiny, epochs=1, batch_size=size, gradient_accumulation=together)
        folder = tmp_path / str(size)
        folder.mkdir()
        found.append(weights(train(recipe, tiny, made_rows(method), folder, lambda event: None, lambda: False)))
    start = load_file(tiny.folder / "model.safetensors")
    assert any(not torch.equal(found[0][name], start[name]) for name in start)
    for name, one in found[0].items():
        assert torch.allclose(one, found[1][name], atol=2e-6), name


def killer(step: int) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == step:
            raise Killed

    return tell


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_is_never_killed(tiny: Base, tmp_path: Path, method: str) -> None:
    recipe = recipe_for(method, tiny, epochs=2, batch_size=2, gradient_accumulation=2)
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    rows = made_rows(method)
    whole = train(recipe, tiny, rows, folders[0], lambda event: None, lambda: False)
    with pytest.raises(Killed):
        train(recipe, tiny, rows, folders[1], killer(3), lambda: False)
    events: list[Event] = []
    resumed = train(recipe, tiny, rows, folders[1], events.append, lambda: False)
    assert next(event.data["step"] for event in events if event.kind == "step") == 3
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()


@pytest.mark.parametrize("way", ["lora", "rslora", "dora"])
def test_the_merged_classifier_is_the_trained_adapter(tiny: Base, tmp_path: Path, way: str) -> None:
    recipe = recipe_for("reward", tiny, epochs=1, batch_size=5, reward={"weights": way}, learning_rate=3e-2)
    rows = made_rows("reward")
    trainer = build(recipe, tiny, rows, tmp_path, None, lambda event: None)
    trainer.train()
    assert trainer.model is not None
    trained = trainer.model.eval()
    asked = torch.tensor([rows[0].ids])
    with torch.no_grad(), trained.disable_adapter():
        bare = trained(input_ids=asked).logits
    with torch.no_grad():
        before = trained(input_ids=asked).logits
    save(trained, recipe, tiny, tmp_path / "artifact")
    with torch.no_grad():
        after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "artifact")(input_ids=asked).logits
    assert torch.allclose(before, after, atol=1e-5)
    assert not torch.allclose(bare, after, atol=1e-3)
    assert not (tmp_path / "artifact" / "adapter_config.json").exists()


TURNS: tuple[Turn, ...] = (
    {"role": "system", "content": "Be brief.\n\n"},
    {"role": "user", "content": "Who runs the office in Zürich? 🏔 "},
    {"role": "assistant", "content": " Boris <|im_end|> Novak"},
)


def collated(base: Base, row: Tokens, recipe: Recipe, folder: Path) -> list[int]:
    """The first sequence of a batch that a trainer gets, without its padding."""
    rows = [row, *made_rows(recipe.method)[:1]]
    batch = build(recipe, base, rows, folder, None, lambda event: None).collated(rows)
    return [int(id_) for id_, seen in zip(batch["input_ids"][0], batch["attention_mask"][0], strict=True) if seen]


def asked_of(base: Base, architecture: str, labels: tuple[str, ...], **body: Any) -> list[int]:
    """What the route sends."""
    renderer, request = Renderer(base.folder), ClassifyRequest.model_validate({"model": "x", **body})
    return texts(request, Served("x", replace(base, architecture=architecture), renderer, None), labels)[0]


def test_batch_and_route_hold_the_same_ids(tiny: Base, tmp_path: Path) -> None:
    renderer, text = Renderer(tiny.folder), " Where is my parcel?\n🏔 <|im_end|>"
    labelled = renderer.train(Example(1, text=text, label="a"))
    trained = collated(tiny, labelled, recipe_for("head", tiny), tmp_path)
    assert trained == list(labelled.ids) == asked_of(tiny, "LlamaForSequenceClassification", ("a", "b"), input=text)

    rejected: tuple[Turn, ...] = (*TURNS[:-1], {"role": "assistant", "content": "No."})
    pair = renderer.train(Example(1, TURNS, rejected=rejected))
    trained = collated(tiny, pair, recipe_for("reward", tiny), tmp_path)
    assert trained == asked_of(tiny, "LlamaForSequenceClassification", (), messages=list(TURNS))
    assert trained[-1] == renderer.stop_ids[0]
