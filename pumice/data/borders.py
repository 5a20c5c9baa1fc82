"""Where a long text may be cut: at the end of a paragraph, else of a sentence, else of a word. Knows no tokenizer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_SLACK = 0.25
"""A window may be so much shorter or longer than an equal share, if that ends it well."""
_PARAGRAPH = re.compile(r"\n[ \t]*\n[ \t]*$")
_SENTENCE = re.compile(r"(?:[.!?:][\"')\]»”]?|[。！？]|\n)[ \t]*$")
_BEFORE = 4
"""So many tokens are looked back over: a paragraph's end may be several of them."""


def edges(tokens: Sequence[str], limit: int) -> list[int]:
    """Where windows of at most `limit` tokens begin and end: 0, …, the number of tokens. `tokens` are their texts.

    Windows are about equally long, so that no last one is left with a token or two.
    """
    found = [0]
    while len(tokens) - found[-1] > limit:
        start = found[-1]
        share = (len(tokens) - start) / math.ceil((len(tokens) - start) / limit)
        low, high = math.ceil(share * (1 - _SLACK)), math.floor(min(limit, share * (1 + _SLACK)))
        found.append(_best(tokens, start + low, start + high, start + round(share)))
    return [*found, len(tokens)]


def _best(tokens: Sequence[str], low: int, high: int, wanted: int) -> int:
    """The place from `low` to `high` that ends most; of several, the one nearest to `wanted`."""
    return min(range(low, high + 1), key=lambda at: (-_worth(tokens, at), abs(at - wanted)))


def _worth(tokens: Sequence[str], at: int) -> int:
    before, behind = "".join(tokens[max(at - _BEFORE, 0) : at]), tokens[at]
    if _PARAGRAPH.search(before):
        return 3 if not behind.startswith("\n") else 0
    opens = behind[:1].isspace() or before[-1:].isspace()
    if _SENTENCE.search(before) and (opens or before.endswith(("。", "！", "？"))):
        return 2
    return 1 if opens and not behind.startswith("\ufffd") else 0
