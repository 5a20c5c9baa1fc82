"""Recipes of LLaMA-Factory and Axolotl become recipes of Pumice, and every key that they have is accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.errors import InputError
from pumice.train.foreign import import_recipe
from pumice.train.recipe import read_recipe, write_recipe

LLAMAFACTORY = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: faq,identity
template: qwen
cutoff_len: 2048
output_dir: saves/qwen
logging_steps: 10
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
"""
AXOLOTL = """\
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
load_in_4bit: false
datasets:
  - path: data/rows.jsonl
    type: chat_template
val_set_size: 0.05
sequence_len: 1024
sample_packing: true
adapter: lora
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj]
peft_use_dora: true
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 2
optimizer: adamw_bnb_8bit
learning_rate: 0.0002
warmup_steps: 10
seed: 7
"""


def imported(folder: Path, text: str) -> tuple[dict[str, object], dict[str, str], tuple[str, ...]]:
    """The recipe that is set, what was left out, and the notes."""
    path = folder / "theirs.yaml"
    path.write_text(text)
    made = import_recipe(path)
    assert dict(made.left_out).keys() | made.recipe.model_fields_set
    return made.recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True), dict(made.left_out), made.notes


def test_llamafactory_lora(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"faq": {"file_name": "questions.json"}}))
    recipe, left, notes = imported(tmp_path, LLAMAFACTORY)
    assert recipe == {
        "model": "Qwen/Qwen2.5-0.5B-Instruct",
        "data": str(tmp_path / "data" / "questions.json"),
        "method": "lora",
        "lora": {"r": 8},
        "epochs": 3,
        "learning_rate": 1e-4,
        "batch_size": 1,
        "gradient_accumulation": 8,
        "max_length": 2048,
        "too_long": "truncate",
    }
    assert left.keys() == {
        "trust_remote_code",
        "do_train",
        "dataset",
        "template",
        "output_dir",
        "logging_steps",
        "lr_scheduler_type",
        "warmup_ratio",
        "bf16",
    }
    assert "identity" in left["dataset"] and not notes


def test_axolotl_dora(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").touch()
    recipe, left, notes = imported(tmp_path, AXOLOTL)
    assert recipe == {
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "data": str(tmp_path / "data" / "rows.jsonl"),
        "method": "dora",
        "dora": {"r": 16, "alpha": 32, "dropout": 0.05, "targets": ["q_proj", "v_proj"]},
        "epochs": 2,
        "learning_rate": 0.0002,
        "batch_size": 2,
        "gradient_accumulation": 4,
        "max_length": 1024,
        "packing": True,
        "too_long": "drop",
        "warmup_steps": 10,
        "seed": 7,
    }
    assert left.keys() == {"val_set_size", "optimizer"} and not notes


@pytest.mark.parametrize(
    ("text", "method", "table"),
    [
        ("stage: dpo\npref_beta: 0.2\nuse_rslora: true\nlora_rank: 4", "dpo", {"weights": "rslora", "beta": 0.2}),
        ("stage: dpo\npref_loss: orpo\nfinetuning_type: full", "orpo", {"weights": "full"}),
        ("stage: kto\nkto_chosen_weight: 2", "kto", {"weights": "lora", "desirable_weight": 2}),
        ("stage: rm", "reward", {"weights": "lora"}),
        ("stage: pt\nfinetuning_type: full", "cpt", {"weights": "full"}),
        ("stage: ppo\nreward_model: judge", "rlhf", {"weights": "lora", "reward": "judge"}),
        ("finetuning_type: freeze\nfreeze_trainable_layers: 3", "last-layers", {"blocks": 3}),
        ("quantization_bit: 4\nlora_rank: 4", "qlora", {"r": 4}),
    ],
)
def test_stages_of_llamafactory(tmp_path: Path, text: str, method: str, table: dict[str, object]) -> None:
    recipe, _, notes = imported(tmp_path, f"model_name_or_path: org/base\ndataset: rows\n{text}\n")
    assert (recipe["method"], recipe[method]) == (method, table)
    assert "rows is in no dataset_info.json" in notes[-1]


@pytest.mark.parametrize(
    ("text", "method", "table"),
    [
        ("rl: dpo\nadapter: qlora\nload_in_4bit: true\nrl_beta: 0.3", "dpo", {"weights": "qlora", "beta": 0.3}),
        ("rl: orpo\norpo_alpha: 0.2", "orpo", {"weights": "full", "beta": 0.2}),
        ("rl: kto\nadapter: lora\nkto_undesirable_weight: 0.5", "kto", {"weights": "lora", "undesirable_weight": 0.5}),
        ("rl: grpo\nadapter: lora", "rlhf", {"weights": "lora"}),
        ("reward_model: true\nadapter: lora", "reward", {"weights": "lora"}),
    ],
)
def test_methods_of_axolotl(tmp_path: Path, text: str, method: str, table: dict[str, object]) -> None:
    recipe, _, _ = imported(tmp_path, f"base_model: org/base\ndatasets: [rows.jsonl]\n{text}\n")
    assert (recipe["method"], recipe[method]) == (method, table)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data: faq.jsonl\nmethod: lora\n", "neither LLaMA-Factory's nor Axolotl's"),
        ("model_name_or_path: a\ndataset: b\nstage: sft2\n", "stage: sft2 has no equal"),
        ("model_name_or_path: a\n", "dataset is missing"),
        ("base_model: a\ndatasets: [b]\nrl: ipo\n", "rl: ipo has no equal"),
        ("base_model: a\ndatasets: [b]\nadapter: llama-adapter\n", "adapter: llama-adapter has no equal"),
        ("base_model: a\ndatasets: [b]\nlearning_rate: fast\n", "nothing was started"),
    ],
)
def test_what_has_no_equal_is_told(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        imported(tmp_path, text)


LLAMA, AXO = "model_name_or_path: org/base\ndataset: rows\n", "base_model: org/base\ndatasets: [rows.jsonl]\n"


@pytest.mark.parametrize(
    ("text", "method", "left"),
    [
        (LLAMA + "quantization_bit: 8\n", "lora", {"quantization_bit": "in 16 or 32 bits, or with qlora in 4"}),
        (LLAMA + "quantization_bit: 4\nuse_dora: true\n", "qlora", {"use_dora": "dora is another method"}),
        (LLAMA + "quantization_bit: 8\nuse_dora: true\n", "dora", {"quantization_bit": "with qlora in 4"}),
        (LLAMA + "use_dora: true\nuse_rslora: true\n", "dora", {"use_rslora": "rslora is another method"}),
        (LLAMA + "use_dora: false\nquantization_bit: 4\n", "qlora", {}),
        (LLAMA + "finetuning_type: full\nquantization_bit: 4\n", "full", {"quantization_bit": "qlora in 4"}),
        (LLAMA + "pref_beta: 0.2\npref_loss: ipo\n", "lora", {"pref_beta": "of dpo, kto and orpo", "pref_loss": "dpo"}),
        (LLAMA + "stage: dpo\npref_loss: ipo\n", "dpo", {"pref_loss": "ipo has no equal"}),
        (AXO + "rl: orpo\nrl_beta: 0.2\n", "orpo", {"rl_beta": "of dpo and kto"}),
        (AXO + "adapter: qlora\npeft_use_dora: true\n", "qlora", {"peft_use_dora": "dora is another method"}),
        (AXO + "reward_model: true\nrl: dpo\n", "reward", {"rl": "a reward model is trained"}),
        (AXO + "pretraining_dataset: [a.jsonl]\n", "cpt", {"datasets": "pretraining_dataset"}),
        (
            AXO.replace("rows.jsonl", "{data_files: [a, b], path: json}, c"),
            "full",
            {"datasets": "put the rows of b, c"},
        ),
    ],
)
def test_what_is_not_used_is_listed_with_the_reason(
    tmp_path: Path, text: str, method: str, left: dict[str, str]
) -> None:
    recipe, found, _ = imported(tmp_path, text)
    assert recipe["method"] == method and found.keys() == left.keys()
    assert all(why in found[key] for key, why in left.items())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            LLAMA + "finetuning_type: freeze\nfreeze_trainable_layers: x\n",
            "freeze_trainable_layers: x is no whole number",
        ),
        (
            LLAMA + "finetuning_type: freeze\nfreeze_trainable_layers: .inf\n",
            "freeze_trainable_layers: inf is no whole",
        ),
        (
            LLAMA + "finetuning_type: freeze\nfreeze_trainable_layers: [2]\n",
            r"freeze_trainable_layers: \[2\] is no whole",
        ),
        (LLAMA + "dataset_dir: [a]\n", r"dataset_dir: \['a'\] cannot be read"),
        (LLAMA + "stage: [dpo]\n", r"stage: \['dpo'\] cannot be read"),
        ("model_name_or_path: org/base\ndataset: ','\n", "dataset is missing"),
        (AXO + "rl: [dpo]\n", r"rl: \['dpo'\] cannot be read"),
        ("base_model: org/base\ndatasets: [{data_files: []}]\n", "datasets names no file"),
        ("base_model: org/base\ndatasets: [{type: alpaca}]\n", "datasets names no file"),
        ("base_model: org/base\ndatasets: []\n", "datasets is missing"),
    ],
)
def test_values_of_another_shape_are_told_in_the_files_own_words(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        imported(tmp_path, text)


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": []}', '{"rows": "rows.json"}', "\xff"])
def test_a_broken_list_of_data_sets_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "dataset_info.json").write_text(text, "latin-1")
    with pytest.raises(InputError, match=r"3/dataset_info\.json (cannot be read as JSON|has no table)"):
        imported(tmp_path, LLAMA + "dataset_dir: 3\n")


def test_a_data_set_that_is_not_here_is_noted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"rows": {"hf_hub_url": "org/rows"}}))
    recipe, _, notes = imported(tmp_path, LLAMA)
    assert recipe["data"] == str(tmp_path / "data" / "rows.json")
    assert notes == ("rows has no file_name in dataset_info.json: save its rows as rows.json, which data names.",)


def test_what_was_made_can_be_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text(AXOLOTL)
    made = import_recipe(path).recipe
    write_recipe(made, tmp_path / "ours.yaml")
    assert read_recipe(tmp_path / "ours.yaml") == made
