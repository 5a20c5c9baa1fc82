"""Rows are held out for the evaluation by what they say, so the same ones for ever. Knows no files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import takewhile

from pumice.records import Example

_NEEDED, _FEWEST, _MOST, _SHARE = 200, 20, 500, 0.05


def split(examples: Sequence[Example], seed: int = 0) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Trained and held-out rows, each in the order given; under 200 rows nothing is held out.

    Of 200 rows and more, 5 %, at least 20 and at most 500, are held out: those whose opening (all before the first
    answer) has the lowest hash. Rows with one opening stay together, so fewer are held out where one opening has many.
    A class keeps a row to be learned from.
    """
    if len(examples) < _NEEDED:
        return tuple(examples), ()
    room = min(_MOST, max(_FEWEST, round(len(examples) * _SHARE)))
    groups: dict[bytes, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(_key(example, seed), []).append(index)
    held: set[int] = set()
    left = _classes(examples)
    for _, group in sorted(groups.items()):
        classes = _classes(examples[index] for index in group)
        if len(held) + len(group) <= room and all(left[each] > count for each, count in classes.items()):
            held.update(group)
            left.subtract(classes)
        if len(held) == room:
            break
    trained = tuple(example for index, example in enumerate(examples) if index not in held)
    return trained, tuple(examples[index] for index in sorted(held))


def _classes(examples: Iterable[Example]) -> Counter[str]:
    return Counter(example.label for example in examples if example.label is not None)


def _key(example: Example, seed: int) -> bytes:
    if example.text is not None:
        opening = example.text
    else:
        turns = takewhile(lambda turn: turn["role"] != "assistant", example.messages)
        opening = json.dumps([[turn["role"], turn["content"]] for turn in turns])
    return blake2b(opening.encode("utf-8", "surrogatepass"), digest_size=16, key=seed.to_bytes(8, "little")).digest()
