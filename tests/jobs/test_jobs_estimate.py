"""A recipe's memory is told at once, from a few rows, and near to what training itself expects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.config import Home
from pumice.data.read import rows
from pumice.jobs import estimate
from pumice.plan import gather
from pumice.records import Base
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.train import sizes
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe


@pytest.fixture
def registry(home: Home) -> Registry:
    return Registry(open_database(home.database), home)


def write(path: Path, count: int, words: int) -> Path:
    text = " ".join(["answer"] * words)
    path.write_text("".join(json.dumps({"prompt": f"question {n}", "completion": text}) + "\n" for n in range(count)))
    return path


def test_it_is_near_to_what_the_loop_expects(
    registry: Registry, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(model=str(tiny.folder), data=str(write(tmp_path / "faq.jsonl", 600, 100)), method="full")
    tokens = gather(recipe, tiny, registry.home).rows.tokens
    resolved, _ = resolve_recipe(recipe, tiny, len(tokens), sum(len(row.ids) for row in tokens))
    total, longest = sum(len(row.ids) for row in tokens), max(len(row.ids) for row in tokens)
    exact = sizes.estimate(resolved, tiny, total, longest).memory_bytes
    whole = estimate.memory_of(recipe, registry, registry.home)
    assert whole is not None and whole >= estimate.evaluating(tiny, adapter=False)
    monkeypatch.setattr(estimate, "evaluating", lambda *_: 0)
    told = estimate.memory_of(recipe, registry, registry.home)
    assert told is not None and exact <= told < 2 * exact


def test_longer_rows_and_larger_bases_take_more(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = sizes.Machine(2, 2**40, 2**40, ())
    monkeypatch.setattr(sizes, "machine", lambda: plenty)
    short, long = write(tmp_path / "short.jsonl", 40, 10), write(tmp_path / "long.jsonl", 40, 3000)
    told = [
        estimate.memory_of(Recipe(model=model, data=str(data), method="full", batch_size=4), registry, registry.home)
        for model in ("smollm2-135m-instruct-q4_1", "Qwen/Qwen3-8B")
        for data in (short, long)
    ]
    sizes_told = [each for each in told if each is not None]
    assert sizes_told == sorted(set(sizes_told)) and len(sizes_told) == 4
    assert sizes_told[2] > 8e9 * 16


def test_a_new_model_is_judged_by_its_own_size(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "machine", lambda: sizes.Machine(2, 2**40, 2**40, ()))
    monkeypatch.setattr(estimate, "evaluating", lambda *_: 0)
    (tmp_path / "a.txt").write_text("Some text to learn from.\n" * 400)
    small, large = (
        estimate.memory_of(
            make_recipe({"method": "pretrain", "data": str(tmp_path / "a.txt"), "pretrain": {"size": size}}),
            registry,
            registry.home,
        )
        for size in ("1M", "350M")
    )
    # Weights, gradients and two means: 16 bytes a number.
    assert small is not None and large is not None and 350e6 * 16 < large < 2 * 350e6 * 16 and small < large / 3


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "faq.jsonl", 20_000, 10)
    read = []

    def counted(path: Path, log: object) -> object:
        for row in rows(path, log):  # type: ignore[arg-type]
            read.append(row)
            yield row

    monkeypatch.setattr(estimate, "rows", counted)
    count, _, _ = estimate.sample(data)
    assert len(read) == estimate.SAMPLED
    assert 15_000 < count < 25_000


def test_what_cannot_be_looked_at_is_not_guessed(registry: Registry, tiny: Base, tmp_path: Path) -> None:
    data = str(write(tmp_path / "faq.jsonl", 3, 3))
    for model, file in (("org/unknown", data), (str(tmp_path), data), (str(tiny.folder), "nowhere.jsonl")):
        assert estimate.memory_of(Recipe(model=model, data=file), registry, registry.home) is None
    assert not registry.home.bases.exists(), "nothing was resolved"
