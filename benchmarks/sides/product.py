"""What the machine can do at all: a product of two fp32 matrices with every core, when asked; by torch as it comes, and
by oneDNN.

python -m benchmarks.sides.product THREADS
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from benchmarks.sides.gate import Gate
from pumice.train.fast import kernels

SIDE = 2048
TIMES = 9


def main() -> None:
    """Tell operations a second, turn after turn, until the parent goes."""
    torch.set_num_threads(int(sys.argv[1]))
    gate = Gate()
    left, right, out = (torch.randn(SIDE, SIDE) for _ in range(3))
    while True:
        with kernels.onednn(True):
            other = rate(left, right, out)
        gate.step(rate=rate(left, right, out), onednn=other)


def rate(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> float:
    """Operations a second of the median product."""
    seconds = []
    for _ in range(TIMES):
        began = time.perf_counter()
        torch.matmul(left, right, out=out)
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / statistics.median(seconds)


if __name__ == "__main__":
    main()
