"""Where a value stands in raw JSON text: walked only when there is something to report. Knows no files and no rules."""

from __future__ import annotations

import mmap
import re

import orjson

Path = tuple[str | int, ...]
"""The way to a value: keys and 0-based indices, as `("messages", 2, "role")`."""

STRING = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(STRING)
_SCALAR = re.compile(rb"[^\s,\]}]*+")
_NESTING = re.compile(STRING + rb"|[\[\]{}]")


def find(raw: bytes, path: Path, key: bool = False) -> int:
    """The byte offset of the value at `path` in valid JSON (of its last key, if `key`).

    As parsers do, the last of several equal keys counts. Where the path leads nowhere, the nearest value above it is
    meant.
    """
    at = _after_space(raw, 0)
    for depth, step in enumerate(path):
        last = depth == len(path) - 1
        inside = _member(raw, at, step, key and last) if raw[at : at + 1] in (b"{", b"[") else None
        if inside is None:
            return at
        at = inside
    return at


def end(raw: bytes | mmap.mmap, start: int) -> int:
    """The byte offset behind the object or list that opens at `start`; -1 if it is never closed."""
    depth = 0
    for match in _NESTING.finditer(raw, start):
        token = match.group()
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return match.end()
    return -1


def position(raw: bytes, offset: int, line: int = 1, column: int = 1) -> tuple[int, int]:
    """Line and column, in characters, of a byte offset in text whose first byte stands at `line` and `column`."""
    before = raw[:offset]
    lines = before.count(b"\n")
    if lines:
        column = 1
    return line + lines, column + len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace"))


def name(path: Path) -> str:
    """The path as a user reads it: `messages[2].role`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _member(raw: bytes, at: int, step: str | int, key: bool) -> int | None:
    is_object = raw[at : at + 1] == b"{"
    found, index = None, 0
    at = _after_space(raw, at + 1)
    while raw[at : at + 1] not in (b"}", b"]", b""):
        start = at
        label: str | int = index
        if is_object:
            label, at = _key(raw, at)
        if label == step:
            found = start if key else at
        at = _after_space(raw, _after_value(raw, at))
        if raw[at : at + 1] == b",":
            at = _after_space(raw, at + 1)
        index += 1
    return found


def _key(raw: bytes, at: int) -> tuple[str, int]:
    """The key that starts at `at`, and where its value starts."""
    match = _STRING.match(raw, at)
    assert match is not None, "find() takes JSON that was parsed before"
    colon = _after_space(raw, match.end())
    return orjson.loads(match.group()), _after_space(raw, colon + 1)


def _after_value(raw: bytes, at: int) -> int:
    if raw[at : at + 1] in (b"{", b"["):
        return end(raw, at)
    match = _STRING.match(raw, at) or _SCALAR.match(raw, at)
    assert match is not None, "a scalar may be empty, so this matches"
    return match.end()


def _after_space(raw: bytes, at: int) -> int:
    match = _SPACE.match(raw, at)
    assert match is not None, "no space matches too"
    return match.end()
