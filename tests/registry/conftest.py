"""A registered adapter over the tiny base, strong enough to change every answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from pumice.config import Home
from pumice.records import Base, Model
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train.recipe import Recipe


@pytest.fixture(scope="session")
def adapter(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A peft folder with random matrices."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(tiny.folder)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(folder)
    return folder


@pytest.fixture
def registry(home: Home) -> Registry:
    """An empty registry."""
    return Registry(open_database(home.database), home)


@pytest.fixture
def tuned(tiny: Base, adapter: Path, registry: Registry) -> Model:
    """The adapter as `faq@1`."""
    return registry.register(Recipe(data="faq.jsonl", name="faq"), adapter, tiny, "ef" * 32, None, None)
