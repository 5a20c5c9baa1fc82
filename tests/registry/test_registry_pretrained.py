"""A model that was trained from nothing stands on itself: it answers, exports and goes on without its job."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pumice import pipeline
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.answer import Ask, answer
from pumice.engine.contract import Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.jobs.queue import Queue
from pumice.plan import decide
from pumice.records import Model
from pumice.registry import again
from pumice.registry.export import export
from pumice.registry.models import Registry
from pumice.registry.start import base_of
from pumice.store.tables import open_database
from pumice.train.loop import train
from pumice.train.recipe import make_recipe

DATA = Path(__file__).parents[2] / "recipes" / "data"
VALUES: dict[str, Any] = {
    "name": "moss",
    "data": str(DATA / "domain.md"),
    "validation": str(DATA / "domain-held-out.md"),
    "method": "pretrain",
    "pretrain": {"size": "1M", "vocabulary": 512},
    "max_length": 128,
    "save_steps": 1000,
}


@pytest.fixture(scope="module")
def born(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Registry, Home]:
    """A new model, trained and registered as a worker does it; its job's folder is deleted."""
    home = Home(tmp_path_factory.mktemp("born"))
    registry = Registry(open_database(home.database), home)
    queue = Queue(registry.database, home)
    spec = make_recipe({**VALUES, "epochs": 4, "batch_size": 2}).model_dump(mode="json")
    job = queue.submit("train", spec)
    model = pipeline.run(job, home, lambda _: None, lambda: False)
    assert model is not None
    shutil.rmtree(queue.folder(job.id))
    return model, registry, home


def test_it_is_its_own_base(born: tuple[Model, Registry, Home]) -> None:
    model, registry, home = born
    assert not model.adapter and model.base_source == "new:1M"
    base = base_of(model, registry, home)
    assert (base.folder, base.sha256) == (model.folder, model.base_sha256)
    card = (model.folder / "README.md").read_text()
    assert "trained from random numbers with Pumice" in card
    assert "base_model" not in card and "base weights" not in card
    assert f"weights, sha256 | `{base.sha256}`" in card


def test_it_answers_and_exports(born: tuple[Model, Registry, Home], tmp_path: Path) -> None:
    model, registry, home = born
    base, out = base_of(model, registry, home), tmp_path / "moss.gguf"

    async def both() -> Any:
        async with Pool(home.cache) as pool:
            renderer = Renderer(model.folder)
            ids = renderer.prompt([{"role": "user", "content": "What does a flicker mean?"}])
            said = await answer(await pool.get(model.folder), renderer, Ask(ids, Sampling(max_tokens=8)))
            return said, await export(model, base, "gguf-q8_0", out, pool, registry)

    said, exported = asyncio.run(both())
    assert said.completion_tokens > 0
    assert out.exists() and exported["agreement"] >= 0.8 and exported["mean_difference"] < 0.1


def test_it_is_compared_with_the_random_weights_that_it_was(born: tuple[Model, Registry, Home]) -> None:
    model, registry, home = born
    report = asyncio.run(again.compare(model.id, None, registry, home, lambda _: None))
    assert report.base.loss == pytest.approx(6.24, abs=0.2)  # ln 512: every token is as likely as any other
    assert report.tuned.loss is not None and report.base.loss is not None
    assert report.tuned.loss < report.base.loss - 0.7
    # The same random weights as before the training.
    kept = json.loads((model.folder / "pumice.json").read_text())["base_sha256"]
    assert again.counterpart(model, registry, home).sha256 == kept


def test_an_adapter_can_be_trained_on_it(born: tuple[Model, Registry, Home], tmp_path: Path) -> None:
    model, registry, home = born
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "What does yellow mean?", "completion": "Sour."}) + "\n")
    recipe = make_recipe({"data": str(data), "model": "moss", "epochs": 1, "name": "asked"})
    job = Queue(registry.database, home).submit("train", recipe.model_dump(mode="json"))
    plan, material = decide(job, home, registry)
    assert (plan.base.source, plan.parent) == ("model:moss@1", "moss@1")
    artifact = train(plan.recipe, plan.base, material.rows.tokens, tmp_path, lambda _: None, lambda: False)
    asked = registry.register(plan.recipe, artifact, plan.base, plan.data_sha256, None, None)
    assert base_of(asked, registry, home).sha256 == model.base_sha256


def test_it_is_compared_on_answers_and_texts_alone(born: tuple[Model, Registry, Home], tmp_path: Path) -> None:
    model, registry, home = born
    data = tmp_path / "labelled.jsonl"
    data.write_text("".join(json.dumps({"text": word, "label": word[0]}) + "\n" for word in ("sun", "moon")))
    with pytest.raises(InputError, match="holds labelled data, on which moss@1 cannot be compared") as caught:
        asyncio.run(again.compare(model.id, str(data), registry, home, lambda _: None))
    assert "chat or instruction or text" in caught.value.why
