"""A folder is described by what is in it, and refused in a sentence when it is no base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pumice.bases.resolve import describe
from pumice.errors import InputError, NotFoundError
from pumice.records import Base


@pytest.fixture
def folder(tiny: Base, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.folder, tmp_path / "copy"))


def test_the_facts_are_those_of_the_files(tiny: Base, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    assert tiny.parameters == sum(each.numel() for each in weights.values())
    assert (tiny.hidden_size, tiny.layers, tiny.vocabulary, tiny.window) == (64, 2, 49_152, 512)
    assert tiny.architecture == "LlamaForCausalLM"
    before = sorted(folder.iterdir())
    base = describe(folder, "copy", "folder:copy")
    assert (base.sha256, base.template_sha256) == (tiny.sha256, tiny.template_sha256)
    assert sorted(folder.iterdir()) == before


def test_weights_in_several_files_are_counted_and_hashed_together(tiny: Base, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    (folder / "model.safetensors").unlink()
    for part, chosen in enumerate((names[:5], names[5:])):
        save_file({name: weights[name] for name in chosen}, folder / f"model-0000{part + 1}-of-00002.safetensors")
    whole = describe(folder, "copy", "folder:copy")
    assert whole.parameters == tiny.parameters
    save_file({name: weights[name] + 1 for name in names[5:]}, folder / "model-00002-of-00002.safetensors")
    assert describe(folder, "copy", "folder:copy").sha256 != whole.sha256


def test_a_model_that_sees_images_is_described_by_its_text_part(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    nested = {"architectures": ["SeesForConditionalGeneration"], "text_config": config, "hidden_size": 7}
    (folder / "config.json").write_text(json.dumps(nested))
    base = describe(folder, "sees", "folder:sees")
    assert (base.architecture, base.hidden_size, base.layers) == ("SeesForConditionalGeneration", 64, 2)


def test_no_template_is_no_hash(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert describe(folder, "copy", "folder:copy").template_sha256 == ""


def test_weights_that_are_a_pickle_are_refused_unread(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(2)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"as a pickle \(pytorch_model.bin\)"):
        describe(folder, "copy", "folder:copy")


@pytest.mark.parametrize("cut", [1, 1000, 10**5])
def test_weights_cut_short_are_noticed(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    with pytest.raises(InputError, match="cut short"):
        describe(folder, "copy", "folder:copy")


def test_what_is_no_base_is_said_to_be_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder"):
        describe(tmp_path / "nowhere", "x", "folder:x")
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        describe(folder, "x", "folder:x")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no \*\.safetensors"):
        describe(folder, "x", "folder:x")
    (folder / "config.json").write_text("{")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="an adapter, not a base model"):
        describe(folder, "x", "folder:x")
    (folder / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        describe(folder, "x", "folder:x")
