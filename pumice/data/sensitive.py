"""Emails, phone numbers and keys in text that is about to be trained on. Knows no rows; keeps no secret."""

from __future__ import annotations

import re
from dataclasses import dataclass

_KEYS = {
    "AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "API key (sk-…)": r"\bsk[-_][A-Za-z0-9_-]{20,}",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{30,})",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Google key": r"\bAIza[A-Za-z0-9_-]{35}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
}
_HINTS = ("AKIA", "ASIA", "sk-", "sk_", "gh", "xox", "AIza", "hf_", "PRIVATE KEY")
_KEY = re.compile("|".join(f"({pattern})" for pattern in _KEYS.values()))
_KEY_NAMES = tuple(_KEYS)
# The look-behind and the possessive run keep this linear on long text without spaces.
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}+@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
_PHONE = re.compile(
    r"(?<![\w+.])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w.-]*\d)"
)
_LINES = 5


@dataclass(frozen=True)
class Sensitive:
    """One sort of personal or secret text: how often, on which lines first, and the start of the first one."""

    what: str
    count: int
    lines: tuple[int, ...]
    shown: str
    """Never the whole of it."""


class Search:
    """Collects what is found over many rows."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lines: dict[str, list[int]] = {}
        self._shown: dict[str, str] = {}

    def look(self, text: str, line: int) -> None:
        """Search one text of the row at `line`."""
        if "@" in text:
            for match in _EMAIL.finditer(text):
                self._found("email address", match.group(), line)
        for match in _PHONE.finditer(text):
            self._found("phone number", match.group(), line)
        if any(hint in text for hint in _HINTS):
            for match in _KEY.finditer(text):
                self._found(_KEY_NAMES[(match.lastindex or 1) - 1], match.group(), line)

    def found(self) -> tuple[Sensitive, ...]:
        """What was found, the most frequent sort first."""
        sorts = sorted(self._counts, key=lambda what: -self._counts[what])
        return tuple(Sensitive(s, self._counts[s], tuple(self._lines[s]), self._shown[s]) for s in sorts)

    def _found(self, what: str, text: str, line: int) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1
        lines = self._lines.setdefault(what, [])
        if line not in lines and len(lines) < _LINES:
            lines.append(line)
        self._shown.setdefault(what, f"{text[:4]}… ({len(text)} characters)")
