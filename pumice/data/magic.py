"""What a file is by its first bytes, where that is not what its name says. Knows no way to read any of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_HEAD = 1024
"""A PDF may have other bytes before its own mark, but no more of them than this."""


class Mistake(NamedTuple):
    """A file that is not what its ending says: two sentences without a subject, and the fix."""

    what: str
    why: str
    fix: str


_OLD_WORD = "an old Word file (.doc), or a Word file with a password", "Save it as .docx, without a password."
_MAGIC = {
    b"PAR1": ("a Parquet file", "Name it .parquet."),
    b"\x1f\x8b": ("compressed with gzip", "Unpack it first: gunzip."),
    b"PK\x03\x04": (
        "a ZIP archive, an Excel workbook or a Word document",
        "Unpack it first, save the sheet as CSV, or name the document .docx.",
    ),
    b"%PDF": ("a PDF document", "Name it .pdf."),
    b"\xd0\xcf\x11\xe0": _OLD_WORD,
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "Unpack it first: unzstd."),
    b"\xff\xfe": ("UTF-16 text", "Save it as UTF-8."),
    b"\xfe\xff": ("UTF-16 text", "Save it as UTF-8."),
}
_OWN = {
    ".parquet": (b"PAR1", "a Parquet file", "Parquet files start with PAR1."),
    ".pdf": (b"%PDF-", "a PDF document", "PDF documents start with %PDF-."),
    ".docx": (b"PK\x03\x04", "a Word document", "Word documents (.docx) are ZIP archives, which start with PK."),
}


def mistake(path: Path, suffix: str) -> Mistake | None:
    """What is wrong with a file whose name ends in `suffix`; None for an empty one, and for one that may be right."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return None
    if suffix in _OWN:
        mark, what, rule = _OWN[suffix]
        if head.startswith(mark) or (suffix == ".pdf" and mark in head):
            return None
        if suffix == ".docx" and head.startswith(b"\xd0\xcf\x11\xe0"):
            return Mistake(f"is {_OLD_WORD[0]}, not .docx.", "The first bytes of the file say so.", _OLD_WORD[1])
        return Mistake(f"is not {what}.", rule, "Rename it by what it holds.")
    for magic, (what, fix) in _MAGIC.items():
        if head.startswith(magic):
            return Mistake(f"is {what}, not {suffix}.", "The first bytes of the file say so.", fix)
    return None
