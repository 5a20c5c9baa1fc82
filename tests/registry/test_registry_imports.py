"""Weights from elsewhere become versions like any other, or are refused with a reason before anything is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pumice import show
from pumice.config import Home
from pumice.engine.pool import Pool
from pumice.errors import InputError, NotFoundError
from pumice.records import Base, Model
from pumice.registry.again import compare
from pumice.registry.card import IMPORT
from pumice.registry.export import export
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.registry.start import base_of, starting_point
from pumice.store.files import sha256_folder_weights


@pytest.fixture
def whole(tiny: Base, tmp_path: Path) -> Path:
    """A whole model with what such folders often hold beside it."""
    folder = tmp_path / "whole"
    shutil.copytree(tiny.folder, folder)
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "modeling_own.py").write_text("raise SystemExit")
    return folder


def peft(adapter: Path, folder: Path, **changes: object) -> Path:
    """A copy of the adapter with other words in its configuration."""
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **changes}))
    return folder


def bring(folder: Path, registry: Registry, base: str | None = None) -> Model:
    return import_model(folder, "own", registry, registry.home, None, base)


def nothing_is_kept(registry: Registry) -> bool:
    return registry.list() == () and not registry.home.models.exists() and not list(registry.home.cache.glob("tmp*"))


def test_a_whole_model_stands_on_itself(whole: Path, tiny: Base, registry: Registry, home: Home) -> None:
    model = bring(whole, registry)
    assert (model.id, model.method, model.adapter, model.recipe) == ("own@1", "import", False, {})
    assert model.base_sha256 == tiny.sha256 == sha256_folder_weights(model.folder)
    assert model.base_source == f"{IMPORT}{whole}"
    assert {path.suffix for path in model.folder.iterdir()} == {".safetensors", ".json", ".jinja", ".md"}
    assert base_of(model, registry, home).folder == model.folder
    assert starting_point("own", None, registry, home).base.source == "model:own@1"
    card = (model.folder / "README.md").read_text()
    assert "base_model" not in card and "made elsewhere" in card and "its recipe and its data are not known" in card
    show.model(model)


def test_an_adapter_comes_with_the_base_that_it_names(
    adapter: Path, tiny: Base, registry: Registry, home: Home
) -> None:
    # peft wrote the folder of the base into the configuration.
    model = bring(adapter, registry)
    assert (model.adapter, model.base_sha256, model.template_sha256) == (True, tiny.sha256, tiny.template_sha256)
    assert base_of(model, registry, home).sha256 == tiny.sha256
    assert json.loads((model.folder / "adapter_config.json").read_text())["base_model_name_or_path"] == model.base
    assert (model.folder / "chat_template.jinja").read_text() == (tiny.folder / "chat_template.jinja").read_text()
    assert sha256_folder_weights(model.folder) == sha256_folder_weights(adapter)


def test_an_adapter_over_a_registered_model(adapter: Path, whole: Path, tmp_path: Path, registry: Registry) -> None:
    bring(whole, registry)
    model = bring(peft(adapter, tmp_path / "peft", base_model_name_or_path="/gone"), registry, "own@1")
    assert (model.id, model.base_source) == ("own@2", "model:own@1")


async def test_what_was_imported_can_be_compared_and_exported(
    adapter: Path, whole: Path, tiny: Base, registry: Registry, tmp_path: Path, home: Home
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"prompt": "a", "completion": "b"}\n')
    over = bring(adapter, registry)
    with pytest.raises(InputError, match="was imported, and has no questions of its own") as caught:
        await compare(over.id, None, registry, home, lambda _: None)
    assert caught.value.fix == "Name the questions to ask: pumice evaluate own@1 --data FILE"
    assert (await compare(over.id, str(questions), registry, home, lambda _: None)).count == 1
    alone = bring(whole, registry)
    with pytest.raises(InputError, match="nothing is known of a base to compare it with"):
        await compare(alone.id, str(questions), registry, home, lambda _: None)
    with_base = bring(whole, registry, str(tiny.folder))
    report = await compare(with_base.id, str(questions), registry, home, lambda _: None)
    assert report.differences["loss"].value == 0.0
    async with Pool(home.cache) as pool:
        base = base_of(alone, registry, home)
        result = await export(alone, base, "safetensors", tmp_path / "out", pool, registry)
    assert result["agreement"] == 1.0


def test_a_pickle_is_refused(whole: Path, adapter: Path, tmp_path: Path, registry: Registry) -> None:
    (whole / "model.safetensors").rename(whole / "pytorch_model.bin")
    with pytest.raises(InputError, match="as a pickle"):
        bring(whole, registry)
    folder = peft(adapter, tmp_path / "peft")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"as a pickle \(adapter_model.bin\)"):
        bring(folder, registry)
    assert nothing_is_kept(registry)


def test_a_model_without_a_tokenizer_takes_that_of_its_base(whole: Path, tiny: Base, registry: Registry) -> None:
    (whole / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="has no tokenizer") as caught:
        bring(whole, registry)
    assert "--base" in caught.value.fix and nothing_is_kept(registry)
    model = bring(whole, registry, str(tiny.folder))
    assert (model.folder / "tokenizer.json").read_bytes() == (tiny.folder / "tokenizer.json").read_bytes()
    assert model.base_source == f"folder:{tiny.folder}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peft_type": "LOHA"}, "is a LOHA adapter"),
        ({"base_model_name_or_path": None}, "names no base"),
        ({"base_model_name_or_path": "/nowhere/at/all"}, "There is no base model '/nowhere/at/all'"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_refused(
    adapter: Path, tmp_path: Path, registry: Registry, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        bring(peft(adapter, tmp_path / "peft", **changes), registry)
    assert nothing_is_kept(registry)


def test_an_adapter_of_another_base_is_refused(adapter: Path, base: Base, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(InputError, match=r"does not fit the base .* at model\.layers") as caught:
        bring(adapter, registry, str(base.folder))
    assert "--base" in caught.value.fix
    other = peft(adapter, tmp_path / "template")
    (other / "chat_template.jinja").write_text("another")
    with pytest.raises(InputError, match="another chat template"):
        bring(other, registry)
    marked = peft(adapter, tmp_path / "marked")
    (marked / "pumice.json").write_text(json.dumps({"base_sha256": "ab" * 32}))
    with pytest.raises(InputError, match="was trained on another base"):
        bring(marked, registry)
    assert nothing_is_kept(registry)


def test_a_whole_model_is_not_compared_with_a_stranger(whole: Path, tmp_path: Path, registry: Registry) -> None:
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["OtherForCausalLM"]}))
    with pytest.raises(InputError, match="was not made from the base"):
        bring(whole, registry, str(other))


def test_names_and_folders_are_looked_at_first(whole: Path, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\.\./own' cannot be a model's name"):
        import_model(whole, "../own", registry, registry.home, None)
    with pytest.raises(NotFoundError, match="There is no folder"):
        bring(tmp_path / "nowhere", registry)
    (whole / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        bring(whole, registry)
    assert nothing_is_kept(registry)
