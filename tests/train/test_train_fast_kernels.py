"""Products by oneDNN: only where asked for, only where no digit is lost, and never left on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pumice.records import Base, Event, Tokens
from pumice.train.fast import kernels, segments
from pumice.train.loop import train
from pumice.train.recipe import make_recipe, resolve_recipe


@pytest.fixture
def matrices() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(200, 320, generator=generator), torch.randn(320, 96, generator=generator)


def test_products_keep_fp32(matrices: tuple[torch.Tensor, torch.Tensor]) -> None:
    left, right = matrices
    exact = (left.double() @ right.double()).float()
    with kernels.onednn(True):
        found = left @ right
        with kernels.mkl():
            own = left @ right
    for each in (found, own):
        assert (each - exact).abs().max() < 1e-5 * exact.abs().max()


def test_the_word_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "keeps_fp32", lambda: True)
    before = kernels.PRECISION.fp32_precision
    with pytest.raises(RuntimeError), kernels.onednn(True):
        assert kernels.PRECISION.fp32_precision == "bf16"
        with kernels.mkl():
            assert kernels.PRECISION.fp32_precision == "ieee"
        assert kernels.PRECISION.fp32_precision == "bf16"
        raise RuntimeError
    assert kernels.PRECISION.fp32_precision == before


def test_not_wanted_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    before = kernels.PRECISION.fp32_precision
    with kernels.onednn(False):
        assert kernels.PRECISION.fp32_precision == before
        assert "LRU_CACHE_CAPACITY" not in os.environ


def test_a_processor_that_would_round_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernels.PRECISION.fp32_precision
    monkeypatch.setattr(kernels, "keeps_fp32", lambda: False)
    with kernels.onednn(True):
        assert kernels.PRECISION.fp32_precision == before


def test_rounding_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.keeps_fp32()
    product = torch.Tensor.__matmul__
    rounded = lambda left, right: product(left.bfloat16().float(), right.bfloat16().float())  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not kernels.keeps_fp32()


@pytest.mark.parametrize("fast", [True, False])
def test_a_training_multiplies_so_and_its_attention_does_not(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    rows = [Tokens((1000, 1001, 1002, 1003), (-100, 1001, 1002, 1003))] * 2
    values = {"data": "/d/x", "epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "fast": fast}
    recipe = resolve_recipe(make_recipe(values), tiny, 2, 8).recipe
    words: dict[str, set[str]] = {"step": set(), "attention": set()}
    weights = segments.weights

    def attend(*given: object) -> torch.Tensor:
        words["attention"].add(kernels.PRECISION.fp32_precision)
        return weights(*given)  # type: ignore[arg-type]

    def tell(event: Event) -> None:
        if event.kind == "step":
            words["step"].add(kernels.PRECISION.fp32_precision)

    # As on a processor without matrix units.
    monkeypatch.setattr(kernels, "keeps_fp32", lambda: True)
    monkeypatch.setattr(segments, "weights", attend)
    train(recipe, tiny, rows, tmp_path, tell, lambda: False)
    plain = {"step": {kernels.PRECISION.fp32_precision}, "attention": set()}
    assert words == ({"step": {"bf16"}, "attention": {"ieee"}} if fast else plain)
