"""A batch of rows that lie end to end, cut between rows: what a step keeps in memory follows the part, not the batch.

The gradients of the parts add up to that of the batch. Knows no method, no recipe and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch

from pumice.train.fast import TOKENS


def pairs(batch: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Pairs as TRL's collator puts them, every chosen one before all others, in parts of at most `TOKENS` tokens.

    A part has one pair at least; each comes with the number of its pairs.
    """
    count = len(batch["attention_mask"]) // 2
    sizes = batch["attention_mask"].sum(1).view(2, count).sum(0).tolist()
    start = taken = 0
    for at, size in enumerate(sizes, 1):
        taken += size
        if at == count or taken + sizes[at] > TOKENS:
            places = torch.arange(start, at)
            both = torch.cat([places, places + count])
            yield at - start, {key: value[both] for key, value in batch.items()}
            start, taken = at, 0


def parts(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of `batch`, as TRL's collator lays them end to end, in parts of at most `TOKENS` or of one row."""
    borders = batch["cu_seq_lens_q"].tolist()
    start = 0
    for at, stop in enumerate(borders[1:], 1):
        if at == len(borders) - 1 or borders[at + 1] - borders[start] > TOKENS:
            first = borders[start]
            inner = torch.tensor([each - first for each in borders[start : at + 1]], dtype=torch.int32)
            longest = max(after - before for before, after in pairwise(borders[start : at + 1]))
            rows = {key: batch[key][:, first:stop] for key in ("input_ids", "labels", "position_ids")}
            yield rows | {
                "cu_seq_lens_q": inner,
                "cu_seq_lens_k": inner,
                "max_length_q": longest,
                "max_length_k": longest,
            }
            start = at
