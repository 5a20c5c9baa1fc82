"""Rows that are there twice: duplicates, contradictions and leaks, by 64-bit hashes. Knows no files."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
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
    """What is kept of each row of a file: 32 bytes. Hashes hold within one process only."""

    def __init__(self) -> None:
        self._lines, self._prompts, self._subjects, self._contents = array("q"), array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, example: Example) -> None:
        """Remember a row by its prompt (all before the last answer), by what it is about and by its whole content.

        What a row is about is its prompt; of a judgement also what is judged, as a prompt may have many answers.
        """
        if example.text is not None:
            prompt = subject = hash(example.text)
            content = prompt if example.label is None else hash((prompt, example.label))
        else:
            turns: list[tuple[str, str, str]] = [
                (turn["role"], turn["content"], str(turn["tool_calls"]) if "tool_calls" in turn else "")
                for turn in (*example.messages, *example.rejected[-1:])
            ]
            prompt, subject, content = _of_turns(example, turns)
        self._lines.append(example.line)
        self._prompts.append(prompt)
        self._subjects.append(subject)
        self._contents.append(content)

    def duplicates(self) -> Repeats:
        """Rows whose whole content an earlier row has."""
        lines, _, _, contents = self._arrays()
        order = np.argsort(contents, kind="stable")
        groups = contents[order]
        first = _first_of_group(groups[1:] != groups[:-1])
        again = np.arange(len(order)) != first
        return _repeats(lines[order[again]], lines[order[first[again]]])

    def conflicts(self) -> Repeats:
        """Rows about what an earlier row is about, with another answer (the first row of each other answer)."""
        lines, _, subjects, contents = self._arrays()
        order = np.lexsort((lines, contents, subjects))
        sorted_subjects, sorted_contents = subjects[order], contents[order]
        distinct = np.ones(len(order), dtype=bool)
        distinct[1:] = (sorted_subjects[1:] != sorted_subjects[:-1]) | (sorted_contents[1:] != sorted_contents[:-1])
        order = order[distinct]
        order = order[np.lexsort((lines[order], subjects[order]))]
        groups = subjects[order]
        first = _first_of_group(groups[1:] != groups[:-1])
        again = np.arange(len(order)) != first
        return _repeats(lines[order[again]], lines[order[first[again]]])

    def leaks(self, validation: Hashes) -> Repeats:
        """Rows whose prompt (or text) the validation file has too; the second line of a pair is that file's."""
        lines, prompts, _, _ = self._arrays()
        other_lines, other_prompts, _, _ = validation._arrays()
        order = np.argsort(other_prompts, kind="stable")
        at = np.searchsorted(other_prompts[order], prompts)
        inside = at < len(order)
        inside[inside] = other_prompts[order[at[inside]]] == prompts[inside]
        return _repeats(lines[inside], other_lines[order[at[inside]]])

    def _arrays(self) -> Iterator[npt.NDArray[np.int64]]:
        kept = (self._lines, self._prompts, self._subjects, self._contents)
        return (np.array(each, dtype=np.int64) for each in kept)


def _of_turns(example: Example, turns: list[tuple[str, str, str]]) -> tuple[int, int, int]:
    """Prompt, subject and content of a row that is a conversation; `turns` end with a pair's other answer."""
    answer = turns.pop()
    tools = str(example.tools) if example.tools else ""
    if example.rejected:
        chosen = turns.pop()
        prompt = hash((*turns, tools))
        return prompt, hash((prompt, frozenset((chosen, answer)))), hash((prompt, chosen, answer))
    if answer[0] != "assistant":
        prompt = hash((*turns, answer, tools))
        content = hash((prompt, json.dumps(example.facts, sort_keys=True, default=str))) if example.facts else prompt
        return prompt, content, content
    prompt = hash((*turns, tools))
    content = hash((prompt, answer))
    if example.wanted is not None:
        return prompt, content, hash((content, example.wanted))
    return prompt, prompt, content


def _first_of_group(starts_anew: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """For each place of a sorted array, the place where its run of equal values begins."""
    begins = np.zeros(len(starts_anew) + 1, dtype=np.int64)
    begins[1:] = np.where(starts_anew, np.arange(1, len(begins)), 0)
    return np.maximum.accumulate(begins)


def _repeats(rows: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> Repeats:
    few = np.argsort(rows, kind="stable")[:_PAIRS]
    return Repeats(len(rows), tuple((int(rows[each]), int(of[each])) for each in few))
