"""Products by oneDNN: only where asked for, only where no digit is lost, and never left on."""

from __future__ import annotations

import pytest
import torch

from pumice.train.fast import kernels


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


def test_the_word_is_taken_back() -> None:
    before = kernels.PRECISION.fp32_precision
    with pytest.raises(RuntimeError), kernels.onednn(True):
        assert kernels.PRECISION.fp32_precision == "bf16"
        with kernels.mkl():
            assert kernels.PRECISION.fp32_precision == "ieee"
        assert kernels.PRECISION.fp32_precision == "bf16"
        raise RuntimeError
    assert kernels.PRECISION.fp32_precision == before


def test_not_wanted_changes_nothing() -> None:
    before = kernels.PRECISION.fp32_precision
    with kernels.onednn(False):
        assert kernels.PRECISION.fp32_precision == before


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
