"""Which solved examples stand before a question: those that share the words that matter. Knows no tokens, no models."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from pumice.evaluate.score import words
from pumice.prompting.templates import Shot
from pumice.records import Example, Examples


def exchange(example: Example) -> Shot | None:
    """The last question and answer of a row; None where an answer follows no question of the user, or has no words."""
    if len(example.messages) < 2:
        return None
    asked, answered = example.messages[-2:]
    if asked["role"] != "user" or answered["role"] != "assistant":
        return None
    return Shot(asked["content"], answered["content"])


class Shots:
    """What can be shown: the exchanges of trained rows, without those that ask what is asked afterwards."""

    def __init__(self, trained: Examples, asked: Collection[str], seed: int) -> None:
        """`asked` are the questions that are put to the model; `seed` decides between equally near examples."""
        found = [each for each in map(exchange, trained) if each and each.answer and each.question not in asked]
        # Each once: an example that is shown twice costs its tokens twice.
        self.all = tuple(dict.fromkeys(found))
        self._order = np.random.default_rng(seed).permutation(len(self.all))
        self._weight: dict[str, float] = {}
        self._rows: dict[str, npt.NDArray[np.int64]] = {}
        self._length = np.ones(len(self.all))
        self._index()

    def near(self, question: str, count: int) -> tuple[Shot, ...]:
        """The `count` most similar ones, the nearest last: by the cosine of their words, rare words weighing more."""
        score = np.zeros(len(self.all))
        for word in sorted(set(words(question))):
            if word in self._rows:
                score[self._rows[word]] += self._weight[word] ** 2
        nearest = np.lexsort((self._order, -score / self._length))[:count]
        return tuple(self.all[at] for at in nearest[::-1])

    def _index(self) -> None:
        """Where each word is, and its inverse document frequency (Spärck Jones 1972)."""
        places: dict[str, list[int]] = {}
        for at, shot in enumerate(self.all):
            for word in sorted(set(words(shot.question))):
                places.setdefault(word, []).append(at)
        squares = np.zeros(len(self.all))
        for word, rows in places.items():
            self._weight[word] = math.log((1 + len(self.all)) / len(rows))
            self._rows[word] = np.asarray(rows)
            squares[self._rows[word]] += self._weight[word] ** 2
        self._length = np.sqrt(np.where(squares > 0, squares, 1))
