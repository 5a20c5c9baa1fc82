"""One value that must be text. Knows no rows' shapes."""

from __future__ import annotations

from typing import Any

from pumice.data.locate import Path
from pumice.data.rows import Log, Row

_NAMES = {int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "an object", bytes: "bytes"}


def text(row: Row, value: Any, path: Path, what: str, log: Log) -> str:
    """The value, if it is text with something in it; else "" and a finding."""
    if type(value) is not str:
        wrong_type(row, value, path, log)
        return ""
    if not value or value.isspace():
        log.fault(row, path, f"{what} is empty.", "Write it, or delete the row.")
        return ""
    if "\0" in value:
        log.fault(row, path, "The text holds a NUL character.", "Delete it (\\u0000 in JSON).")
        return ""
    return value


def optional_text(row: Row, value: Any, path: Path, log: Log) -> str:
    """The value, if it is text; "" for null and for nothing but white space."""
    if value is None or value == "" or (type(value) is str and value.isspace()):
        return ""
    return text(row, value, path, "", log)


def wrong_type(row: Row, value: Any, path: Path, log: Log, must: str = "text") -> None:
    """The finding for a value of another type than `must` says."""
    if value is None:
        log.fault(row, path, f"The value is null; it must be {must}.", "Write it, or delete the row.")
        return
    got = _NAMES.get(type(value), "text" if type(value) is str else f"a {type(value).__name__}")
    fix = 'Put it in double quotes: "42".' if must == "text" and got == "a number" else f"Write {must} here."
    log.fault(row, path, f"The value is {got}; it must be {must}.", fix)
