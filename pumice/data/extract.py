"""What reading one document gives: its text and what was left out of it, or why there is none. Knows no format."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pumice.errors import InputError

_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SPELT = str.maketrans({"\xa0": " ", "\xad": None, "\u200b": None, "\ufeff": None})
_LINE_END = re.compile(r"[ \t]*\r?\n")
_BLANK_LINES = re.compile(r"\n{3,}")


class DocumentError(InputError):
    """A document that gives no text: `what` is the rule, and `at` the page, or the line, from 1."""

    def __init__(self, what: str, fix: str, at: int = 1) -> None:
        super().__init__(what, fix=fix)
        self.at = at


@dataclass(frozen=True)
class Extract:
    """The text of one document, and what was left out of it."""

    text: str
    repeated: int = 0
    """Lines that stand on most pages: headers, footers, page numbers."""
    unreadable: int = 0
    """Characters that are none: control codes, and halves of others."""
    pictures: tuple[int, ...] = ()
    """Pages without text, from 1."""


def said(error: Exception) -> str:
    """What a parser says of a damaged document: one line, without its full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def tidied(text: str) -> tuple[str, int]:
    """Text as it is trained on, and how many characters were left out as unreadable.

    Hard spaces become spaces, what is invisible goes, lines end without spaces, and one blank line parts paragraphs.
    """
    text, unreadable = _NO_CHARACTER.subn("", text)
    text = _LINE_END.sub("\n", text.translate(_SPELT))
    return _BLANK_LINES.sub("\n\n", text).strip("\n").rstrip(), unreadable
