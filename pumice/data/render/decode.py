"""Token ids to text while they arrive, never half a character. Knows no models and no templates."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tokenizers

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BROKEN = "\ufffd"


class Decoder:
    """Turns ids into text as they come: what `push` and `flush` return is, joined, the text of all ids at once."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, special: frozenset[int]) -> None:
        self._tokenizer, self._special = tokenizer, special
        # One token before the open ones: some decoders strip a space from whatever stands first.
        self._context: list[int] = []
        self._open: list[int] = []
        self._shown = 0

    def push(self, ids: Sequence[int]) -> str:
        """The text that is safe to show now."""
        self._open += [each for each in ids if each not in self._special]
        # A run of byte tokens is text only as a whole: one wrong byte at its end turns all of it into U+FFFD.
        if not self._open or _BYTE.fullmatch(self._tokenizer.id_to_token(self._open[-1]) or ""):
            return ""
        text = self._text()
        whole = text.rstrip(_BROKEN)
        fresh, self._shown = whole[self._shown :], max(self._shown, len(whole))
        if whole == text:
            self._context, self._open, self._shown = self._open[-1:], [], 0
        return fresh

    def flush(self) -> str:
        """The rest, once no more ids come; a character that was never completed shows as U+FFFD."""
        fresh = self._text()[self._shown :]
        self._context, self._open, self._shown = [], [], 0
        return fresh

    def _text(self) -> str:
        known = self._tokenizer.decode(self._context, skip_special_tokens=False)
        return self._tokenizer.decode(self._context + self._open, skip_special_tokens=False)[len(known) :]
