"""What is wrong with JSON text that does not parse, in a sentence of its own for each common slip. Knows no files."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import orjson


class Fault(NamedTuple):
    """Where the text breaks, in bytes, the rule it breaks and the fix."""

    offset: int
    rule: str
    fix: str
    cut: bool = False
    """The text ends too early."""
    byte: bool = False
    """A single byte is at fault, so its place in the file helps."""


_TRUNCATED = "The text ends in the middle of this row.", "The file was cut off: write it again, or delete this row."
_SINGLE = "Single quotes are not JSON; keys and texts stand in double quotes.", "Write \"prompt\", not 'prompt'."
_TRAILING = "A comma stands before the closing bracket.", "Delete that comma."
_CONSTANTS = {"None": "null", "True": "true", "False": "false", "NaN": "null", "undefined": "null", "Infinity": "null"}


def explain(raw: bytes) -> Fault:
    """The first fault in one row's text that `orjson` refused."""
    if b"\0" in raw:
        return Fault(
            raw.index(b"\0"),
            "A NUL byte stands here; text holds none.",
            "Delete it; many NUL bytes mean that the file is binary, or UTF-16.",
            byte=True,
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return not_utf8(error)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rule, fix = _sentence(text.rstrip(), error)
        return Fault(len(text.rstrip()[: error.pos].encode()), rule, fix, cut=rule == _TRUNCATED[0])
    except RecursionError:
        return Fault(0, "The row is nested too deeply.", "A row holds texts, lists and objects a few levels deep.")
    return _strict(raw)


def not_utf8(error: UnicodeDecodeError) -> Fault:
    """The fault of bytes that are no UTF-8; the offset is the first such byte."""
    byte = error.object[error.start]
    return Fault(
        error.start,
        f"Byte 0x{byte:02x} is not UTF-8.",
        "Save the file as UTF-8; it may be Windows-1252 or Latin-1 now.",
        byte=True,
    )


def _sentence(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    """`text` has no white space at its end, so a position behind it means that something is missing there."""
    here, before = text[error.pos :], text[: error.pos].rstrip()
    for found, sentence in (
        (not here or error.msg.startswith("Unterminated string"), _open_end(text, error.pos)),
        (here.startswith("'"), _SINGLE),
        (here[:1] in ("}", "]") and before.endswith(","), _TRAILING),
        (error.msg.startswith("Extra data"), _extra(here)),
        (here.startswith(",") and not here[1:].lstrip(" ,}]"), _TRAILING),
        (error.msg.startswith("Invalid control character"), _control(here)),
        (error.msg.startswith("Invalid \\"), _escape(here)),
        (error.msg.startswith("Expecting ',' delimiter"), _no_comma(here)),
        (error.msg.startswith("Expecting ':'"), ("A colon is missing between key and value.", 'Write "key": "value".')),
        (
            error.msg.startswith("Expecting property name"),
            ("A key must stand in double quotes.", 'Write "key": "value".'),
        ),
    ):
        if found:
            return sentence
    return _no_value(here)


def _open_end(text: str, at: int) -> tuple[str, str]:
    if "\n" in text[at:]:
        return (
            "A text is not closed on its line.",
            "Close it with a double quote; write a line break inside a text as \\n.",
        )
    return _TRUNCATED


def _control(here: str) -> tuple[str, str]:
    shown = {"\t": "A tab", "\n": "A line break", "\r": "A line break"}.get(here[:1], "A control character")
    return f"{shown} stands inside a text as it is.", "Write a tab as \\t and a line break as \\n."


def _escape(here: str) -> tuple[str, str]:
    return (
        f"{here[:2]} is no escape that JSON knows.",
        "Write a backslash as \\\\ (a Windows path too: C:\\\\data).",
    )


def _extra(here: str) -> tuple[str, str]:
    if here.startswith(","):
        return "A comma stands after the row.", "In JSONL the rows are separated by line ends alone: delete the comma."
    if here.startswith(("{", "[")):
        return "A second row starts on the same line.", "Put each row on a line of its own."
    return f"Text follows the row: {_shown(here)}.", "Put each row on a line of its own, with nothing after it."


def _no_comma(here: str) -> tuple[str, str]:
    if here.startswith(('"', "{", "[")):
        return "A comma is missing before this.", "Put a comma between two values."
    return (
        f"A comma or closing bracket was expected, not {_shown(here)}.",
        'A double quote inside a text must be written as \\".',
    )


def _no_value(here: str) -> tuple[str, str]:
    word = re.match(r"-?([A-Za-z_]*)", here)
    name = word.group(1) if word else ""
    if name in _CONSTANTS:
        return f"{name} is not JSON.", f"Write {_CONSTANTS[name]}, or a text in double quotes."
    return f"A value was expected, not {_shown(here)}.", 'A text stands in double quotes: {"prompt": "…"}.'


def _strict(raw: bytes) -> Fault:
    """What Python's own parser lets pass and orjson does not: NaN, half of a surrogate pair, huge numbers."""
    for word in (rb"NaN", rb"-?Infinity"):
        match = re.search(rb"[:\[,]\s*(" + word + rb")\b", raw)
        if match:
            return Fault(match.start(1), f"{match.group(1).decode()} is not JSON.", "Write null, or a number.")
    match = re.search(rb"\\u[dD][89a-fA-F]", raw)
    if match:
        return Fault(
            match.start(),
            "Half a surrogate pair stands here; it is no character.",
            "Delete it, or write the whole pair.",
        )
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Fault(len(raw.decode()[: error.pos].encode()), f"This is not JSON: {error.msg}.", "Correct it here.")
    raise AssertionError("explain() takes text that orjson refused")


def _shown(here: str) -> str:
    return repr(here[:12] + ("…" if len(here) > 12 else ""))
