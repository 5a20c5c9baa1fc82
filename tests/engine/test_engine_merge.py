"""A merged model computes what its base with the adapter computes, and is a plain folder like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_room import copy_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from pumice.engine import lora, merge
from pumice.records import Base

PROMPT = [1, 4093, 198, 2683, 359, 260, 3575, 2, 198]
Reference = Callable[..., list[list[float]]]


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}, "lora_alpha": 5}],
)
def test_merged_logits_are_those_of_the_adapter(
    settings: dict[str, Any], tiny: Base, make_adapter: Callable[..., Path], reference: Reference, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny.folder, 2, 0.3, **settings)
    merge.merge(tiny.folder, adapter, tmp_path / "merged")
    wanted, bare = reference(tiny.folder, PROMPT, adapter), reference(tiny.folder, PROMPT)
    assert np.abs(np.subtract(wanted, bare)).max() > 0.1
    assert np.abs(np.subtract(reference(tmp_path / "merged", PROMPT), wanted)).max() < 1e-4


def test_a_merged_folder_holds_what_its_base_holds(tiny: Base, tiny_adapters: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "merged"
    merge.merge(tiny.folder, tiny_adapters["left"], out)
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny.folder.iterdir()}
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (tiny.folder / name).read_bytes()
    before, after = load_file(tiny.folder / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert "lm_head.weight" not in after
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{pair.module}.weight" for pair in lora.pairs(tiny_adapters["left"])}
    merge.merge(tiny.folder, tiny_adapters["right"], out)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_bases_own_precision_is_kept_and_rounded_as_torch_does(
    dtype: torch.dtype, make_model: Callable[..., Path], make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = make_model(LlamaConfig(vocab_size=320, **sizes), dtype)
    adapter = make_adapter(folder)
    merge.merge(folder, adapter, tmp_path / "merged")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    deltas = {f"{pair.module}.weight": torch.from_numpy(pair.delta()) for pair in lora.pairs(adapter)}
    assert len(deltas) == 7
    for name, weight in before.items():
        wanted = (weight.float() + deltas[name]).to(dtype) if name in deltas else weight
        assert after[name].dtype == dtype
        assert torch.equal(after[name], wanted)


def test_weights_in_several_files_stay_in_several_files(
    tiny: Base, tiny_adapters: dict[str, Path], reference: Reference, tmp_path: Path
) -> None:
    folder = copy_of(tiny.folder, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    weights = load_file(tiny.folder / "model.safetensors")
    names = {name: f"model-0000{1 + (at > 3)}-of-00002.safetensors" for at, name in enumerate(weights)}
    for file in set(names.values()):
        held = {name: weights[name] for name in weights if names[name] == file}
        save_file(held, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    merge.merge(folder, tiny_adapters["left"], tmp_path / "merged")
    wanted = reference(tiny.folder, PROMPT, tiny_adapters["left"])
    assert np.abs(np.subtract(reference(tmp_path / "merged", PROMPT), wanted)).max() < 1e-4
    for file in set(names.values()):
        with safe_open(tmp_path / "merged" / file, "pt") as stored:
            assert stored.metadata() == {"format": "pt"}
