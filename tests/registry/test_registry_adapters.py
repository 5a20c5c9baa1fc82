"""Adapters of every kind: exported where that is exact, refused with a sentence where it cannot be, and imported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pumice.config import Home
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.records import Base, Model
from pumice.registry.export import export
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.registry.start import starting_point
from pumice.train.recipe import make_recipe

FRONT: dict[str, Any] = {"num_virtual_tokens": 5, "task_type": "CAUSAL_LM"}
CONFIGS: dict[str, Callable[[], Any]] = {
    "dora": lambda: peft.LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", use_dora=True, init_lora_weights=False, task_type="CAUSAL_LM"
    ),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "prompt": lambda: peft.PromptTuningConfig(**FRONT),
    "p-tuning": lambda: peft.PromptEncoderConfig(encoder_hidden_size=16, **FRONT),
    "prefix": lambda: peft.PrefixTuningConfig(**FRONT),
}
SOFT = ("prompt", "p-tuning", "prefix")


# peft reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def adapters(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder a kind, as peft saves it."""
    made = {}
    for name, config in CONFIGS.items():
        made[name] = tmp_path_factory.mktemp(name)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny.folder), config())
        torch.manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight) * 0.3)
        model.save_pretrained(made[name], save_embedding_layers=False)
    return made


def registered(name: str, adapters: dict[str, Path], tiny: Base, registry: Registry) -> Model:
    recipe = make_recipe({"data": "faq.jsonl", "name": "own", "method": name})
    return registry.register(recipe, adapters[name], tiny, "ef" * 32, None, None)


async def test_what_changes_weights_is_exported_and_measured(
    adapters: dict[str, Path], tiny: Base, registry: Registry, home: Home, tmp_path: Path
) -> None:
    async with Pool(home.cache, threads=1) as pool:
        dora, ia3 = (registered(name, adapters, tiny, registry) for name in ("dora", "ia3"))
        exact = await export(dora, tiny, "safetensors", tmp_path / "dora", pool, registry)
        file = await export(ia3, tiny, "gguf-f16", tmp_path / "ia3.gguf", pool, registry)
    assert exact["max_difference"] < 1e-4 < file["max_difference"] < 0.02
    assert exact["agreement"] == 1.0


@pytest.mark.parametrize("name", SOFT)
async def test_what_stands_in_front_is_neither_exported_nor_merged(
    name: str, adapters: dict[str, Path], tiny: Base, registry: Registry, home: Home, tmp_path: Path
) -> None:
    model = registered(name, adapters, tiny, registry)
    async with Pool(home.cache) as pool:
        with pytest.raises(InputError, match="own@1 cannot be exported as a whole model: it stands in front") as caught:
            await export(model, tiny, "gguf-f16", tmp_path / "out", pool, registry)
    assert str(model.folder) in caught.value.fix and not (tmp_path / "out").exists()
    named = Base(**{**vars(tiny), "source": f"folder:{tiny.folder}", "name": str(tiny.folder)})
    again = registry.register(make_recipe({"data": "f", "name": "b"}), adapters[name], named, "ef" * 32, None, None)
    with pytest.raises(InputError, match="cannot be merged: it stands in front of a conversation"):
        starting_point(again.id, "merge", registry, home)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_adapter_of_its_base_is_imported(
    name: str, adapters: dict[str, Path], tiny: Base, base: Base, registry: Registry, home: Home
) -> None:
    model = import_model(adapters[name], "own", registry, home, None, str(tiny.folder))
    assert model.adapter and model.base_sha256 == tiny.sha256
    assert (model.folder / "adapter_model.safetensors").read_bytes() == (
        adapters[name] / "adapter_model.safetensors"
    ).read_bytes()
    with pytest.raises(InputError, match="does not fit the base") as caught:
        import_model(adapters[name], "own", registry, home, None, str(base.folder))
    assert "--base" in caught.value.fix and len(registry.list()) == 1


def test_one_that_no_model_here_reads_is_refused(
    adapters: dict[str, Path], tiny: Base, registry: Registry, home: Home, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = json.loads((adapters["prompt"] / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "task_type": "SEQ_CLS"}))
    save_file(load_file(adapters["prompt"] / "adapter_model.safetensors"), folder / "adapter_model.safetensors")
    with pytest.raises(InputError, match="is an adapter for the task SEQ_CLS"):
        import_model(folder, "own", registry, home, None, str(tiny.folder))
