"""A base's `tokenizer.json`, and how to tokenise a text that goes on where another ended. Knows no templates."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers

from pumice.bases.describe import read_json
from pumice.errors import InputError

_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FEW = 32


class Pieces:
    """Tokenises the pieces of one text one by one, so that no token crosses a border between them.

    Many tokenizers put a space before a text's first word. Within a text there is none, so a later piece must not get
    one either; the ids are those of the whole text wherever no token would cross a border.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._first = tokenizer
        self._added = frozenset(tokenizer.get_added_tokens_decoder())
        text = tokenizer.to_str()
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        """Hash of all that the tokenizer is made of."""
        values = json.loads(text)
        self._once = _prefixes_once(values)
        bare = _without_prefix(values)
        self._bare = tokenizers.Tokenizer.from_str(json.dumps(bare)) if bare != values else None

    def encode(self, texts: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The ids of each piece of each text."""
        flat = [piece for pieces in texts for piece in pieces]
        first = (each.ids for each in encodings(self._first, flat, add_special_tokens=False))
        if self._bare is None:
            return [[next(first) for _ in pieces] for pieces in texts]
        bare = (each.ids for each in encodings(self._bare, flat, add_special_tokens=False))
        found: list[list[list[int]]] = []
        for pieces in texts:
            last: int | None = None
            ids: list[list[int]] = []
            for _ in pieces:
                ids.append(self._joined(next(first), next(bare), last))
                last = ids[-1][-1] if ids[-1] else last
            found.append(ids)
        return found

    def _joined(self, spaced: list[int], bare: list[int], last: int | None) -> list[int]:
        """A piece's ids, which it has with a space before it and without; `last` is the id before it, if any."""
        if last is None or (last in self._added and not self._once):
            return spaced
        if self._once:
            return bare
        # Behind an added token these tokenizers put a space again, so only what stands before the first one is bare.
        return bare[: self._until_added(bare)] + spaced[self._until_added(spaced) :]

    def _until_added(self, ids: list[int]) -> int:
        return next((at for at, each in enumerate(ids) if each in self._added), len(ids))


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a base's folder. Raises `InputError` when it is missing or damaged."""
    path = folder / "tokenizer.json"
    try:
        tokenizer = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no tokenizer.json.", "Text cannot become tokens without it.") from error
    except Exception as error:  # the library raises no narrower one
        raise InputError(f"{path} cannot be read: {error}.", "", "Take the base's tokenizer.json again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def same_tokens(one: Path, other: Path) -> bool:
    """Whether the bases in two folders make the same ids of every text."""
    parts = ("model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor")
    first, second = (json.loads(read_tokenizer(folder).to_str()) for folder in (one, other))
    return all(first[part] == second[part] for part in parts)


def read_names(folder: Path) -> dict[str, str]:
    """The special tokens that a chat template may write, by name: `bos_token`, `eos_token` and their like."""
    names: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / file
        values = read_json(path) if path.exists() else {}
        for name in _NAMES:
            value = values.get(name)
            content = value.get("content") if isinstance(value, dict) else value
            if content is not None:
                names[name] = str(content)
    return names


def read_stops(folder: Path, tokenizer: tokenizers.Tokenizer, names: dict[str, str]) -> tuple[int, ...]:
    """Ids that end an answer, the tokenizer's own eos first; the model's config is asked only when nothing else tells.

    Raises `InputError` when nothing names one: such a base would never be done with an answer.
    """
    own = tokenizer.token_to_id(names["eos_token"]) if "eos_token" in names else None
    found = [] if own is None else [own]
    found += _declared(folder / "generation_config.json")
    stops = tuple(dict.fromkeys(found or _declared(folder / "config.json")))
    if not stops:
        raise InputError(
            f"{folder} names no token that ends an answer.",
            "An answer would never stop.",
            'Set "eos_token" in its tokenizer_config.json.',
        )
    return stops


def _declared(path: Path) -> list[int]:
    value = read_json(path).get("eos_token_id") if path.exists() else None
    return [] if value is None else value if isinstance(value, list) else [value]


def encoding(tokenizer: tokenizers.Tokenizer, text: str, add_special_tokens: bool = True) -> tokenizers.Encoding:
    """What a tokenizer makes of a text. Raises `InputError` for a text that is no Unicode."""
    try:
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)
    except TypeError as error:
        at = next(at for at, each in enumerate(text, 1) if "\ud800" <= each <= "\udfff")
        raise InputError(
            f"The text has half of a surrogate pair at character {at:,}.",
            "Such a half is no character: JSON writes what lies beyond \\uffff as two escapes.",
            "Send both, or the character itself as UTF-8.",
        ) from error


def encodings(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], add_special_tokens: bool = True
) -> list[tokenizers.Encoding]:
    """The same of many texts, on every core; their offsets are not known. Raises `InputError` as `encoding` does."""
    if len(texts) < _FEW:
        # Waking the other cores takes longer than so little work.
        return [encoding(tokenizer, text, add_special_tokens) for text in texts]
    try:
        found: list[tokenizers.Encoding] = tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
    except TypeError:
        return [encoding(tokenizer, text, add_special_tokens) for text in texts]
    return found


def _steps(values: dict[str, Any], part: str) -> list[dict[str, Any]]:
    step = values.get(part) or {}
    return [*step.get("normalizers", []), *step.get("pretokenizers", [])] if step.get("type") == "Sequence" else [step]


def _prefixes_once(values: dict[str, Any]) -> bool:
    """Whether the space goes only before the whole text, and not again behind every added token."""
    return any(step.get("prepend_scheme") == "first" for step in _steps(values, "pre_tokenizer"))


def _without_prefix(values: dict[str, Any]) -> dict[str, Any]:
    bare = copy.deepcopy(values)
    for step in _steps(bare, "normalizer"):
        if step.get("type") == "Prepend":
            step["prepend"] = ""
    for step in _steps(bare, "pre_tokenizer"):
        if step.get("type") == "Metaspace":
            step["prepend_scheme"] = "never"
        elif step.get("type") == "ByteLevel":
            step["add_prefix_space"] = False
    return bare
