"""Texts to ids for a base that reads them whole, to make vectors of them. Knows no templates and no models."""

from __future__ import annotations

from pathlib import Path

from pumice.bases.describe import read_config
from pumice.data.render.tokenizer import encoding, read_tokenizer


class Reader:
    """A base's tokenizer with all that it puts around a text. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        """Read the tokenizer. Raises `InputError` for a folder that lacks it."""
        self._tokenizer = read_tokenizer(folder)
        self.window: int = read_config(folder)["max_position_embeddings"]
        """Tokens the base can see at once, those around the text included."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, with what the tokenizer puts before and behind it."""
        ids: list[int] = encoding(self._tokenizer, text).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids that a caller sends instead of text, as its base would read it."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))
