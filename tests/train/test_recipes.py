"""Every recipe that ships runs: read as it lies, on a tiny base and for a part of an epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumice.config import Home
from pumice.errors import InputError
from pumice.plan import check_machine, gather
from pumice.records import Base
from pumice.train import sizes
from pumice.train.loop import train
from pumice.train.methods import METHODS
from pumice.train.recipe import read_recipe, resolve_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def test_there_is_one_a_method() -> None:
    assert {path.stem for path in RECIPES} == set(METHODS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_runs(path: Path, tiny: Base, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.method == path.stem
    if recipe.way == "qlora" and not sizes.machine().gpus:
        with pytest.raises(InputError, match="needs an NVIDIA GPU"):
            check_machine(recipe)
        return
    rows = gather(recipe, tiny, Home(tmp_path)).rows.tokens
    short = recipe.model_copy(update={"epochs": 0.1, "batch_size": 8, "gradient_accumulation": 1})
    resolved, _ = resolve_recipe(short, tiny, len(rows), sum(len(row.ids) for row in rows))
    artifact = train(resolved, tiny, rows, tmp_path, lambda event: None, lambda: False)
    assert list(artifact.glob("*.safetensors"))
