"""Rows that are there twice: duplicates, contradictions and leaks, by 64-bit hashes. Knows no files."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pumice.records import Example

_PAIRS = 5


@dataclass(frozen=True)
class Repeats:
    """How many rows repeat another one, and the first few as pairs of lines: the row, and the one it repeats."""

    count: int
    pairs: tuple[tuple[int, int], ...]


class Hashes:
    """What is kept of each row of a file: 24 bytes. Hashes hold within one process only."""

    def __init__(self) -> None:
        self._lines, self._prompts, self._contents = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, example: Example) -> None:
        """Remember a row by its whole content and by its prompt (all before the last answer)."""
        if example.text is not None:
            prompt = content = hash(example.text)
        else:
            turns = [
                (turn["role"], turn["content"], str(turn["tool_calls"]) if "tool_calls" in turn else "")
                for turn in example.messages
            ]
            answer = turns.pop()
            prompt = hash((*turns, str(example.tools) if example.tools else ""))
            content = hash((prompt, answer))
        self._lines.append(example.line)
        self._prompts.append(prompt)
        self._contents.append(content)

    def duplicates(self) -> Repeats:
        """Rows whose whole content an earlier row has."""
        lines, _, contents = self._arrays()
        order = np.argsort(contents, kind="stable")
        groups = contents[order]
        first = _first_of_group(groups[1:] != groups[:-1])
        again = np.arange(len(order)) != first
        return _repeats(lines[order[again]], lines[order[first[again]]])

    def conflicts(self) -> Repeats:
        """Rows whose prompt an earlier row has, with another answer (the first row of each other answer)."""
        lines, prompts, contents = self._arrays()
        order = np.lexsort((lines, contents, prompts))
        sorted_prompts, sorted_contents = prompts[order], contents[order]
        distinct = np.ones(len(order), dtype=bool)
        distinct[1:] = (sorted_prompts[1:] != sorted_prompts[:-1]) | (sorted_contents[1:] != sorted_contents[:-1])
        order = order[distinct]
        order = order[np.lexsort((lines[order], prompts[order]))]
        groups = prompts[order]
        first = _first_of_group(groups[1:] != groups[:-1])
        again = np.arange(len(order)) != first
        return _repeats(lines[order[again]], lines[order[first[again]]])

    def leaks(self, validation: Hashes) -> Repeats:
        """Rows whose prompt (or text) the validation file has too; the second line of a pair is that file's."""
        lines, prompts, _ = self._arrays()
        other_lines, other_prompts, _ = validation._arrays()
        order = np.argsort(other_prompts, kind="stable")
        at = np.searchsorted(other_prompts[order], prompts)
        inside = at < len(order)
        inside[inside] = other_prompts[order[at[inside]]] == prompts[inside]
        return _repeats(lines[inside], other_lines[order[at[inside]]])

    def _arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        lines, prompts, contents = (
            np.array(each, dtype=np.int64) for each in (self._lines, self._prompts, self._contents)
        )
        return lines, prompts, contents


def _first_of_group(starts_anew: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """For each place of a sorted array, the place where its run of equal values begins."""
    begins = np.zeros(len(starts_anew) + 1, dtype=np.int64)
    begins[1:] = np.where(starts_anew, np.arange(1, len(begins)), 0)
    return np.maximum.accumulate(begins)


def _repeats(rows: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> Repeats:
    few = np.argsort(rows, kind="stable")[:_PAIRS]
    return Repeats(len(rows), tuple((int(rows[each]), int(of[each])) for each in few))
