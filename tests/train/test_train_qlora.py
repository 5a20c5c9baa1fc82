"""qlora without a GPU: refused before anything is loaded. What a GPU would get is what the paper says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pumice import plan
from pumice.config import Home
from pumice.errors import InputError
from pumice.jobs.queue import Queue
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train import sizes
from pumice.train.recipe import make_recipe
from pumice.train.trainers.load import four_bits

RECIPES = (
    {"method": "qlora"},
    {"method": "dpo", "dpo": {"weights": "qlora"}},
)


@pytest.mark.parametrize("values", RECIPES, ids=["method", "weights"])
def test_it_is_refused_without_a_gpu_or_its_library(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe({"data": "/nowhere.jsonl", "model": "/nowhere", **values})
    monkeypatch.setattr(sizes, "gpus", lambda: ())
    with pytest.raises(InputError, match="needs an NVIDIA GPU, and this machine has none") as caught:
        plan.check_machine(recipe)
    assert "lora" in caught.value.fix
    monkeypatch.setattr(sizes, "gpus", lambda: (sizes.Gpu("a card", 10**10, 10**10),))
    monkeypatch.setattr(plan, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="needs the library bitsandbytes") as caught:
        plan.check_machine(recipe)
    assert "pumice[gpu]" in caught.value.fix
    monkeypatch.setattr(plan, "find_spec", lambda _: object())
    plan.check_machine(recipe)


def test_a_job_is_refused_before_its_base_is_looked_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the base nor the data is there: what is said first is that the machine cannot do it."""
    monkeypatch.setattr(sizes, "gpus", lambda: ())
    database = open_database(home.database)
    recipe = make_recipe({"data": "/nowhere.jsonl", "model": "/nowhere", "method": "qlora"})
    job = Queue(database, home).submit("run", recipe.model_dump(mode="json"))
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        plan.decide(job, home, Registry(database, home))
    assert not Path(home.jobs / job.id / plan.FILE).exists()


def test_four_bits_are_those_of_the_paper() -> None:
    settings = four_bits()
    assert (settings.load_in_4bit, settings.bnb_4bit_quant_type) == (True, "nf4")
    assert settings.bnb_4bit_use_double_quant and settings.bnb_4bit_compute_dtype == torch.bfloat16
