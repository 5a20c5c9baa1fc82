"""How close one answer is to its reference, 0 to 1. Knows texts only: no model, no token id, no statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pumice.data.words import fold, is_punctuation, normalised, segmented


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


def words(text: str) -> list[str]:
    """The words of a text in lower case; punctuation parts them."""
    folded = fold(text)
    return segmented("".join(" " if is_punctuation(character) else character for character in folded)) or folded.split()


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
