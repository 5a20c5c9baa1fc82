"""How close one answer is to its reference, 0 to 1. Knows texts only: no model, no token id, no statistics."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

ARTICLES = frozenset({"a", "an", "the"})
# Han and kana are written without spaces, so each character counts as a word (as MLQA does, Lewis et al. 2020).
UNSPACED = re.compile("([\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")


def exact_match(answer: str, reference: str) -> float:
    """1 when both texts are the same after `normalised`, else 0."""
    return float(normalised(answer) == normalised(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the words of both, as in SQuAD (Rajpurkar et al. 2016)."""
    got, wanted = normalised(answer), normalised(reference)
    shared = (Counter(got) & Counter(wanted)).total()
    return f_measure(shared, len(got), len(wanted))


def rouge_l(answer: str, reference: str) -> float:
    """F-measure (beta 1) over the longest common subsequence of words (Lin 2004)."""
    got, wanted = words(answer), words(reference)
    return f_measure(longest_common_subsequence(got, wanted), len(got), len(wanted))


def normalised(text: str) -> list[str]:
    """The words that count in SQuAD: lower case, no punctuation, no English article.

    A text of nothing else ("+", "The") keeps its words as they are, or all such texts would match each other.
    """
    folded = fold(text)
    bare = "".join(character for character in folded if not is_punctuation(character))
    kept = [word for word in segmented(bare) if word not in ARTICLES]
    return kept or folded.split()


def words(text: str) -> list[str]:
    """The words of a text in lower case; punctuation parts them."""
    folded = fold(text)
    return segmented("".join(" " if is_punctuation(character) else character for character in folded)) or folded.split()


def fold(text: str) -> str:
    """One spelling for what a reader takes as equal: composed characters, lower case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def is_punctuation(character: str) -> bool:
    """ASCII punctuation, as SQuAD has it, and what Unicode calls punctuation."""
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def segmented(text: str) -> list[str]:
    """Words between white space; each character of an unspaced script is one."""
    return UNSPACED.sub(r" \1 ", text).split()


def f_measure(shared: int, got: int, wanted: int) -> float:
    """2PR / (P + R) from counts; two empty texts agree."""
    return 2 * shared / (got + wanted) if got + wanted else 1.0


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length, by the bit-parallel recurrence of Crochemore et al. (2001): one big-integer step a word."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(first)) - 1
    open_places = everything
    for word in second:
        hits = open_places & places.get(word, 0)
        open_places = (open_places + hits | open_places - hits) & everything
    return len(first) - open_places.bit_count()
