"""Which library multiplies fp32 matrices on a CPU: oneDNN where that loses no digit, for it knows every vendor's units.

torch takes MKL by itself, which leaves AMD's AVX-512 alone: there oneDNN has twice its speed. Knows no model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISION = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
KEPT = 64
"""Kernels that are kept, each made for one shape, of 0.7 MB; a part of a batch needs about 30 of them."""


@contextmanager
def onednn(wanted: bool) -> Iterator[None]:
    """Within the block fp32 products are oneDNN's, if that is `wanted` and they stay fp32.

    torch asks oneDNN only under the word "bf16", by which oneDNN may round its inputs where the processor has matrix
    units (AMX); then nothing changes. torch.backends, "Setting fp32 precision".
    """
    before = PRECISION.fp32_precision
    if wanted:
        # torch and oneDNN keep 1,024 each by default; both read this at their first product.
        for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
            os.environ.setdefault(name, str(KEPT))
        PRECISION.fp32_precision = "bf16"
        if not keeps_fp32():
            PRECISION.fp32_precision = before
    try:
        yield
    finally:
        PRECISION.fp32_precision = before


@contextmanager
def mkl() -> Iterator[None]:
    """Within the block products are torch's own again: of shapes that hardly repeat, which oneDNN would compile."""
    before = PRECISION.fp32_precision
    PRECISION.fp32_precision = "ieee"
    try:
        yield
    finally:
        PRECISION.fp32_precision = before


def keeps_fp32() -> bool:
    """Whether a product as it is computed now keeps digits that bf16 has not."""
    given = 1 + torch.arange(128 * 128, dtype=torch.float32).view(128, 128) * 2**-23
    return bool(torch.equal(given @ torch.eye(128), given))
