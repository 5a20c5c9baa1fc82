"""The words that count when two texts are compared. Knows texts only: no model, no token id, no score."""

from __future__ import annotations

import re
import string
import unicodedata

ARTICLES = frozenset({"a", "an", "the"})
# Han and kana are written without spaces, so each character counts as a word (as MLQA does, Lewis et al. 2020).
UNSPACED = re.compile("([\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")


def normalised(text: str) -> list[str]:
    """The words that count in SQuAD: lower case, no punctuation, no English article.

    A text of nothing else ("+", "The") keeps its words as they are, or all such texts would match each other.
    """
    folded = fold(text)
    bare = "".join(character for character in folded if not is_punctuation(character))
    kept = [word for word in segmented(bare) if word not in ARTICLES]
    return kept or folded.split()


def fold(text: str) -> str:
    """One spelling for what a reader takes as equal: composed characters, lower case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def is_punctuation(character: str) -> bool:
    """ASCII punctuation, as SQuAD has it, and what Unicode calls punctuation."""
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def segmented(text: str) -> list[str]:
    """Words between white space; each character of an unspaced script is one."""
    return UNSPACED.sub(r" \1 ", text).split()
