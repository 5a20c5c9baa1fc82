"""Every recipe that ships runs: from its data to a registered version, on a tiny base in a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumice import pipeline
from pumice.config import Home
from pumice.errors import InputError
from pumice.jobs.queue import Queue
from pumice.plan import check_machine
from pumice.records import Base, Event
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train import sizes
from pumice.train.methods import METHODS
from pumice.train.recipe import change, read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
FEW = {"epochs": "0.1", "batch_size": "4", "gradient_accumulation": "1"}
SMALL = {"distill": {"distill.max_tokens": "4"}, "rlhf": {"rlhf.max_tokens": "4", "rlhf.answers": "2"}}
"""What keeps a recipe short that writes answers."""


def test_there_is_one_a_method() -> None:
    assert {path.stem for path in RECIPES} == set(METHODS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_runs(path: Path, base: Base, tiny: Base, home: Home) -> None:
    recipe = read_recipe(path)
    assert recipe.method == path.stem
    if recipe.way == "qlora" and not sizes.machine().gpus:
        with pytest.raises(InputError, match="needs an NVIDIA GPU"):
            check_machine(recipe)
        return
    own = {} if path.stem == "pretrain" else {"model": str(tiny.folder)}
    # The tiny model's answers are empty, which nobody could learn from.
    teacher = {"distill.teacher": str(base.folder)} if path.stem == "distill" else {}
    short = change(recipe, {**FEW, **own, **teacher, **SMALL.get(path.stem, {})})
    database = open_database(home.database)
    job = Queue(database, home).submit("train", short.model_dump(mode="json"))
    told: list[Event] = []
    model = pipeline.run(job, home, told.append, lambda: False)
    database.dispose()
    assert any(event.kind == "step" for event in told)
    assert model.method == path.stem and list(model.folder.glob("*.safetensors"))
    database = open_database(home.database)
    assert Registry(database, home).find(model.name).id == model.id
    database.dispose()
