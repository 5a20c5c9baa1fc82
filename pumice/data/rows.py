"""A row that knows where it stands, and what was found wrong in a file. Knows no format and no kind of data."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
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
        self.documents: Sequence[str] = ()
        """Names of the documents where each row is a whole one: place (n, m) is then page, or line, m of the n-th."""
        self._places: list[tuple[int, int]] = []

    def wants(self, line: int) -> bool:
        """False when a finding on this line would be counted only, so that its place need not be sought."""
        return len(self.findings) < FIRST or line < self._places[-1][0]

    def add(self, place: tuple[int, int], field: str, rule: str, fix: str) -> None:
        """One error at a line and column."""
        self.total += 1
        if self.wants(place[0]):
            path, line, column = self.path, *place
            if self.documents:
                path, line, column = self.documents[place[0] - 1], place[1], 1
            at = bisect_right(self._places, place)
            self._places.insert(at, place)
            self.findings.insert(at, Finding(path, line, column, field, rule, fix))
            del self._places[FIRST:], self.findings[FIRST:]

    def fault(self, row: Row, path: locate.Path, rule: str, fix: str, key: bool = False) -> None:
        """One error in a row, at the value at `path`."""
        if self.wants(row.line):
            self.add(row.place(path, key), locate.name(path), rule, fix)
        else:
            self.total += 1

    def note(self, text: str) -> None:
        """Something that was accepted, and that the user should know."""
        self.notes.append(text)

    def row(self, line: int) -> str:
        """What a user calls the row on this line: `line 3`, or its document's name."""
        return self.documents[line - 1] if self.documents else f"line {line}"

    def rows(self, lines: Sequence[int]) -> str:
        """The same for several: `lines 3, 7`, or the documents' names."""
        if self.documents or len(lines) == 1:
            return ", ".join(map(self.row, lines))
        return f"lines {', '.join(map(str, lines))}"

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
