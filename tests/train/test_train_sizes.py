"""Estimates grow with what is asked for, and a machine is described without touching a GPU."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from pumice.bases.catalogue import CATALOGUE
from pumice.records import Base
from pumice.train import sizes
from pumice.train.methods import Full, Head, LastLayers, Lora, QLora
from pumice.train.recipe import make_recipe, resolve_recipe

BASE = Base("b", Path("/b"), "0", "folder:/b", "LlamaForCausalLM", 134_515_008, 576, 30, 49_152, 8_192, "")
GB = 10**9


def estimated(**values: object) -> sizes.Estimate:
    recipe = resolve_recipe(make_recipe({"data": "/d/x", "batch_size": 8, "epochs": 1, **values}), BASE, 100, 20_000)
    return sizes.estimate(recipe.recipe, BASE, 20_000, 512)


def test_full_training_needs_more_than_lora_and_a_larger_batch_more_than_a_small_one() -> None:
    lora, full, small = estimated(), estimated(method="full"), estimated(batch_size=1)
    assert full.memory_bytes - lora.memory_bytes > GB
    assert lora.memory_bytes > small.memory_bytes
    assert full.seconds > lora.seconds == pytest.approx(small.seconds)
    assert full.trainable_parameters == BASE.parameters
    assert estimated(epochs=3).seconds == pytest.approx(3 * lora.seconds)
    assert not lora.gradient_checkpointing


def test_time_is_operations_over_what_all_cores_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "product_flops", lambda: 1e9)
    monkeypatch.setattr(sizes, "cores", lambda: 4)
    assert estimated().seconds == pytest.approx(estimated().operations / 4e9)


# Peaks of whole processes in GB, on two CPU cores, by `python -m benchmarks.memory`: a step of 8 x 64 and of 4 x 512.
PEAKS = {
    ("8M", "lora"): (0.65, 0.66),
    ("8M", "full"): (0.77, 0.86),
    ("50M", "lora"): (1.09, 1.17),
    ("50M", "full"): (1.87, 2.13),
    ("135M", "lora"): (1.89, 2.12),
    ("135M", "full"): (3.45, 4.03),
}


@pytest.mark.parametrize(("size", "method"), PEAKS)
def test_the_memory_is_near_what_was_measured(size: str, method: str) -> None:
    base = {
        "8M": replace(BASE, parameters=7_086_208, hidden_size=128, layers=4),
        "50M": replace(BASE, parameters=56_889_856, hidden_size=512, layers=10),
        "135M": BASE,
    }[size]
    for (rows, length), measured in zip(((8, 64), (4, 512)), PEAKS[size, method], strict=True):
        values = make_recipe({"data": "/d/x", "method": method, "batch_size": rows})
        recipe = resolve_recipe(values, base, 2 * rows, 2 * rows * length).recipe
        estimate = sizes.estimate(recipe, base, 2 * rows * length, length)
        assert estimate.memory_bytes == pytest.approx(measured * GB, rel=0.25)


def test_what_keeps_nothing_for_the_way_back_is_not_counted() -> None:
    tokens = 2048
    kept = {
        method: sizes.needed(BASE, method, method, tokens, False) for method in (Full(), LastLayers(blocks=4), Head())
    }
    full, some, none = kept.values()
    layer = tokens * sizes.KEPT_PER_LAYER * BASE.hidden_size * 4
    # Of 30 layers the gradients of 26 fewer lead back; a head reads its text through one at a time, and has no words.
    assert full - some > 26 * layer
    assert some - none > 3 * layer
    words = sizes.needed(BASE, LastLayers(blocks=1), LastLayers(blocks=1), tokens, False)
    classes = sizes.needed(BASE, Head(blocks=1), Head(blocks=1), tokens, False)
    assert words - classes == pytest.approx(3 * sizes.LOGITS_AT_ONCE * BASE.vocabulary * 4, rel=0.01)


def test_a_base_in_four_bits_keeps_its_embeddings_whole() -> None:
    four, sixteen = (sizes.needed(BASE, each, each, 100, True) for each in (QLora(), Lora()))
    embeddings = BASE.vocabulary * BASE.hidden_size
    others = BASE.parameters - embeddings
    assert sixteen - four == pytest.approx(others * (2 - sizes.FOUR_BITS) - embeddings * 2, rel=1e-6)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_number_of_trained_parameters_is_near_pefts() -> None:
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=2,
        num_attention_heads=9,
        num_key_value_heads=3,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        tuned = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    exact, _ = tuned.get_nb_trainable_parameters()
    assert Lora().trained(576, 2, 0) == pytest.approx(exact, rel=0.15)
    assert Full().trained(576, 2, 1234) == 1234


def test_this_machine_is_described() -> None:
    machine = sizes.machine()
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.memory == psutil.virtual_memory().total and 0 < machine.free <= machine.memory
    assert sizes.product_flops() > 1e8


def with_program(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_program(tmp_path, monkeypatch, 'echo "NVIDIA A10G, 23028, 22000"; echo "Some, odd name, 1024, 512"')
    assert sizes.gpus() == (
        sizes.Gpu("NVIDIA A10G", 23028 * 2**20, 22000 * 2**20),
        sizes.Gpu("Some, odd name", 1024 * 2**20, 512 * 2**20),
    )


def test_a_driver_that_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_program(tmp_path, monkeypatch, 'echo "NVIDIA-SMI has failed"; exit 9')
    assert sizes.gpus() == ()


def test_what_a_machine_can_train_follows_its_memory() -> None:
    laptop = sizes.Machine(4, 16 * GB, 8 * GB, ())
    server = replace(laptop, gpus=(sizes.Gpu("H100", 80 * GB, 79 * GB),))
    tiny = sizes.Machine(1, GB // 2, GB // 2, ())
    for machine in (laptop, server):
        full, lora = (sizes.largest_trainable(machine, way) for way in ("full", "lora"))
        assert full and lora and full.parameters <= lora.parameters
    assert sizes.largest_trainable(laptop, "qlora") is None
    on_gpu = sizes.largest_trainable(server, "qlora")
    assert on_gpu is not None and on_gpu.parameters == max(entry.parameters for entry in CATALOGUE)
    assert sizes.largest_trainable(tiny, "lora") is None and sizes.largest_servable(tiny) is None
    served = sizes.largest_servable(laptop)
    assert served is not None and 6 * GB < served.parameters < 14 * GB
    ability = sizes.abilities(CATALOGUE[0], laptop).to_json()
    assert ability["id"] == CATALOGUE[0].id
    assert (ability["train"], ability["serve"]) == ({"full": True, "lora": True, "qlora": False}, True)
