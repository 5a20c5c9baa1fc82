"""Rows are held out for the evaluation by what they say, so the same ones for ever. Knows no files."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import takewhile

import numpy as np

from pumice.records import Example

_NEEDED, _FEWEST, _MOST, _SHARE = 200, 20, 500, 0.05


class Openings:
    """What is kept of each row to hold some out: 16 bytes, and its class where it has one.

    Of 200 rows and more, 5 %, at least 20 and at most 500, are held out: those whose opening (all before the first
    answer) has the lowest hash. Rows with one opening stay together, so fewer are held out where one opening has many.
    A class keeps a row to be learned from.
    """

    def __init__(self, seed: int = 0) -> None:
        self._keys, self._classes, self._seed = bytearray(), array("i"), seed
        self._names: dict[str | None, int] = {None: 0}

    def __len__(self) -> int:
        return len(self._classes)

    def add(self, example: Example) -> None:
        """Remember one row."""
        self._keys += _key(example, self._seed)
        self._classes.append(self._names.setdefault(example.label, len(self._names)))

    def held_out(self) -> tuple[int, ...]:
        """The places of the rows that are held out, in the order in which they were added; under 200 rows none."""
        rows = len(self)
        if rows < _NEEDED:
            return ()
        room = min(_MOST, max(_FEWEST, round(rows * _SHARE)))
        held: list[int] = []
        left = Counter(self._classes)
        for group in self._groups():
            classes = Counter(self._classes[place] for place in group)
            fits = len(held) + len(group) <= room
            if fits and all(left[each] > count for each, count in classes.items() if each):
                held += group
                left.subtract(classes)
            if len(held) == room:
                break
        return tuple(sorted(held))

    def _groups(self) -> Iterator[list[int]]:
        """The places of rows with one opening, in the order of the openings' hashes."""
        halves = np.frombuffer(self._keys, ">u8").reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        # Where the hash is another one than before.
        starts = np.flatnonzero((halves[order[1:]] != halves[order[:-1]]).any(axis=1)) + 1
        start = 0
        for stop in np.append(starts, len(order)):
            yield sorted(order[start:stop].tolist())
            start = int(stop)


def _key(example: Example, seed: int) -> bytes:
    if example.text is not None:
        opening = example.text
    else:
        turns = takewhile(lambda turn: turn["role"] != "assistant", example.messages)
        opening = json.dumps([[turn["role"], turn["content"]] for turn in turns])
    return blake2b(opening.encode("utf-8", "surrogatepass"), digest_size=16, key=seed.to_bytes(8, "little")).digest()
