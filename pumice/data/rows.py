"""A row that knows where it stands, and what was found wrong in a file. Knows no format and no kind of data."""

from __future__ import annotations

from bisect import insort
from typing import Any, BinaryIO

from pumice.data import broken, locate
from pumice.errors import DataError, Finding

FIRST = 20
"""So many findings are kept; the others are counted."""

BUFFER = 1 << 20
_BOM = b"\xef\xbb\xbf"


class Row:
    """One row: its 1-based line, its value, and on demand the place of each part of it."""

    __slots__ = ("line", "value")

    def __init__(self, line: int, value: Any) -> None:
        self.line, self.value = line, value

    def place(self, path: locate.Path, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path` (of its key, if `key`)."""
        return self.line, 1

    def doubled(self, keys: tuple[str, ...]) -> str | None:
        """The first of `keys` that the row has twice; all but the last value would be lost without a word."""
        return None


class Log:
    """What was found in one file: errors with their places (the first ones, and the count of all) and notes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.total = 0
        self.notes: list[str] = []
        self.kind: str | None = None

    def wants(self, line: int) -> bool:
        """False when a finding on this line would be counted only, so that its place need not be sought."""
        return len(self.findings) < FIRST or line < self.findings[-1].line

    def add(self, place: tuple[int, int], field: str, rule: str, fix: str) -> None:
        """One error at a line and column."""
        self.total += 1
        if self.wants(place[0]):
            finding = Finding(self.path, *place, field, rule, fix)
            insort(self.findings, finding, key=lambda each: (each.line, each.column))
            del self.findings[FIRST:]

    def fault(self, row: Row, path: locate.Path, rule: str, fix: str, key: bool = False) -> None:
        """One error in a row, at the value at `path`."""
        if self.wants(row.line):
            self.add(row.place(path, key), locate.name(path), rule, fix)
        else:
            self.total += 1

    def note(self, text: str) -> None:
        """Something that was accepted, and that the user should know."""
        self.notes.append(text)

    def raise_errors(self) -> None:
        """Raises DataError if anything was found."""
        if self.total:
            raise DataError(self.path, self.findings, self.total)


def start_of_text(file: BinaryIO, log: Log) -> int:
    """Where the text starts, behind a byte order mark; the file stands there."""
    if file.read(3) == _BOM:
        log.note("The file starts with a byte order mark (BOM); it was skipped.")
        return 3
    file.seek(0)
    return 0


def note_accepted(log: Log, crlf: bool, blank: int) -> None:
    """What was read as if it were not there."""
    if crlf:
        log.note("The lines end as on Windows (CRLF); that is fine.")
    if blank:
        log.note(f"{blank:,} blank {'line was' if blank == 1 else 'lines were'} skipped.")


def decoded(raw: bytes, offset: int, number: int, log: Log) -> str:
    """One line as text; bytes that are no UTF-8 go to the log, with their place in the file."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        fault = broken.not_utf8(error)
        rule = f"{fault.rule[:-1]} (byte {offset + fault.offset + 1:,} of the file)."
        log.add(locate.position(raw, fault.offset, number), "", rule, fault.fix)
        return raw.decode("utf-8", "replace")
