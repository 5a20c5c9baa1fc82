"""An export computes what the model computes, within its quantisation, and the registry holds by how much."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import gguf
import pytest

from pumice.config import Home
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.records import Base, Model
from pumice.registry.export import GGUF, ask, ask_gguf, difference, export, probes
from pumice.registry.models import Registry
from pumice.store.files import sha256_file, sha256_folder_weights


# peft asks transformers for a property by its old name.
@pytest.fixture
async def pool(home: Home) -> AsyncIterator[Pool]:
    pool = Pool(home.cache, threads=2)
    yield pool
    await pool.stop()


async def test_every_format_is_measured_and_recorded(
    tuned: Model, tiny: Base, registry: Registry, pool: Pool, tmp_path: Path
) -> None:
    out = tmp_path / "exports"
    results = {}
    for format in ("safetensors", *GGUF):
        results[format] = await export(tuned, tiny, format, out / f"faq.{format}", pool, registry)
    assert registry.find("faq@1").exports == results
    assert sorted(path.name for path in out.iterdir()) == sorted(f"faq.{format}" for format in results)
    for format, result in results.items():
        path = Path(result["path"])
        assert path == out / f"faq.{format}"
        assert result["sha256"] == (sha256_folder_weights(path) if path.is_dir() else sha256_file(path))
        assert 0 <= result["mean_difference"] <= result["max_difference"] and 0 <= result["agreement"] <= 1
    worst = {format: result["max_difference"] for format, result in results.items()}
    assert worst["safetensors"] < 1e-4 < worst["gguf-f16"] < 0.02
    assert worst["gguf-f16"] < worst["gguf-q8_0"] < worst["gguf-q4_0"]
    assert results["safetensors"]["agreement"] == 1.0

    # The same measure tells the model from its bare base: an export that lost the adapter would be refused.
    prompts = probes(tiny)
    bare = await ask(await pool.scorer(tiny.folder), prompts, None)
    with pytest.raises(InputError, match="shares none"):
        difference(bare, await ask_gguf(out / "faq.gguf-f16", prompts, tmp_path))

    fields = gguf.GGUFReader(out / "faq.gguf-q8_0").fields
    assert fields["tokenizer.chat_template"].contents() == (tiny.folder / "chat_template.jinja").read_text()
    assert len(fields["tokenizer.ggml.tokens"].contents()) == tiny.vocabulary


def test_the_difference_is_taken_over_tokens_that_both_report() -> None:
    expected, got = {7: -0.5, 8: -1.0, 9: -3.0}, {8: -0.75, 7: -1.0, 5: -2.0}
    assert difference([expected], [got]) == {"max_difference": 0.5, "mean_difference": 0.375, "agreement": 0.0}
    both = difference([expected, {}], [expected, {}])
    assert both == {"max_difference": 0.0, "mean_difference": 0.0, "agreement": 1.0}


async def test_nothing_is_overwritten(tuned: Model, tiny: Base, registry: Registry, pool: Pool, tmp_path: Path) -> None:
    out = tmp_path / "faq.gguf"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"faq\.gguf exists already"):
        await export(tuned, tiny, "gguf-f16", out, pool, registry)
    assert out.read_text() == "mine" and registry.find("faq@1").exports == {}


async def test_what_cannot_be_exported_is_refused_first(
    tuned: Model, tiny: Base, registry: Registry, pool: Pool, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="format 'gguf-q2' is unknown") as caught:
        await export(tuned, tiny, "gguf-q2", tmp_path / "x", pool, registry)
    assert "safetensors, gguf-f16, gguf-q8_0, gguf-q4_0" in caught.value.fix
    with pytest.raises(InputError, match="faq@1 belongs to another base"):
        other = Base(**{**vars(tiny), "sha256": "00"})
        await export(tuned, other, "gguf-f16", tmp_path / "x", pool, registry)
    strange = tmp_path / "strange"
    shutil.copytree(tiny.folder, strange)
    config = (strange / "config.json").read_text()
    (strange / "config.json").write_text(config.replace("LlamaForCausalLM", "NovelForCausalLM"))
    with pytest.raises(InputError, match="cannot become a GGUF file: its architecture is NovelForCausalLM") as caught:
        await export(tuned, Base(**{**vars(tiny), "folder": strange}), "gguf-f16", tmp_path / "x", pool, registry)
    assert "--format safetensors" in caught.value.fix
    assert not (tmp_path / "x").exists()
