"""A text and its class. Knows no files, and no other rows' classes: those are counted in `labels`."""

from __future__ import annotations

import math
from typing import Any

from pumice.data.cells import text, wrong_type
from pumice.data.rows import Log, Row
from pumice.records import Example


def read_labelled(row: Row, log: Log) -> Example | None:
    """`text` and `label`; the label is text, a number or true or false, and is kept as text."""
    before = log.total
    content = text(row, row.value["text"], ("text",), "The text", log)
    label = _label(row, row.value["label"], log)
    return Example(row.line, text=content, label=label) if log.total == before else None


def _label(row: Row, value: Any, log: Log) -> str:
    if type(value) is str:
        return text(row, value, ("label",), "The label", log)
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        # 1 and 1.0 are one number, so one class: tables write whole numbers so once one is missing.
        return str(int(value)) if value == int(value) else str(value)
    if type(value) is float:
        log.fault(row, ("label",), f"The label is {value}, which is no number.", "Write its class, or delete the row.")
    else:
        wrong_type(row, value, ("label",), log, "text or a number")
    return ""
