"""CSV and Parquet tables as rows. Knows no kind of data."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from pumice.data import locate
from pumice.data.rows import BUFFER, Log, Row, decoded, note_accepted, start_of_text
from pumice.errors import InputError

_CELL_LIMIT = min(sys.maxsize, 2**31 - 1)
_TWICE = "Two columns have this name.", "Rename or delete one of them."
_OPEN = "A double quote opens a cell here and is never closed.", "Close it; all that follows was read as one cell."
_RETURN = "A carriage return stands alone here.", "Save the file with usual line ends (LF), or quote the cell."
_INSIDE = "A double quote stands inside a quoted cell.", 'Write it twice: "He said ""yes""."'


def read_csv(path: Path, log: Log) -> Iterator[Row]:
    """Rows of a CSV file with a header; commas, semicolons or tabs between the columns."""
    with path.open("rb", buffering=BUFFER) as file:
        start = start_of_text(file, log)
        lines = _Lines(file, start, log)
        first = next(lines, "")
        if not first:
            return
        lines.again = first
        separator = max(",;\t", key=first.count)
        if separator != ",":
            shown = "semicolons" if separator == ";" else "tabs"
            log.note(f"The columns are separated by {shown}; that is fine.")
        # The csv module refuses cells over 128 KiB by default; a row of training text may be longer.
        csv.field_size_limit(_CELL_LIMIT)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        try:
            header = next(reader)
        except csv.Error as error:
            log.add((1, 1), "", *_fault(error))
            return
        text = "".join(lines.taken)
        for index, name in enumerate(header):
            if name in header[:index]:
                log.add(_cell(text, index, separator, 1), name, *_TWICE)
        if log.total:
            return
        yield from _csv_rows(reader, lines, header, separator, log)
        note_accepted(log, first.endswith("\r\n"), lines.blank)


def _csv_rows(reader: Any, lines: _Lines, header: list[str], separator: str, log: Log) -> Iterator[Row]:
    width = len(header)
    while True:
        lines.taken.clear()
        number = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            log.add((number, 1), "", *_fault(error))
            continue
        if not cells:
            lines.blank += 1
            continue
        text = "".join(lines.taken)
        if len(cells) != width:
            place = _cell(text, min(len(cells), width + 1) - 1, separator, number)
            rule = f"The row has {len(cells)} cells; the header has {width} columns."
            log.add(place, "", rule, f'A text that holds "{separator}" stands in double quotes.')
            continue
        yield _CsvRow(number, dict(zip(header, cells, strict=True)), text, separator)


def _fault(error: csv.Error) -> tuple[str, str]:
    """The csv module tells its three faults apart by their words alone."""
    for words, fault in (("end of data", _OPEN), ("new-line", _RETURN)):
        if words in str(error):
            return fault
    return _INSIDE


class _CsvRow(Row):
    __slots__ = ("separator", "text")

    def __init__(self, line: int, value: Any, text: str, separator: str) -> None:
        self.line, self.value, self.text, self.separator = line, value, text, separator

    def place(self, path: locate.Path, key: bool = False) -> tuple[int, int]:
        return _cell(self.text, list(self.value).index(path[0]), self.separator, self.line) if path else (self.line, 1)


class _Lines:
    """The file's lines as text for the csv module, keeping those of the record under way."""

    def __init__(self, file: BinaryIO, start: int, log: Log) -> None:
        self.file, self.offset, self.log = file, start, log
        self.number, self.blank = 0, 0
        self.taken: list[str] = []
        self.again: str | None = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.again is not None:
            line, self.again = self.again, None
            return line
        raw = self.file.readline()
        if not raw:
            raise StopIteration
        self.number += 1
        line = decoded(raw, self.offset, self.number, self.log)
        self.offset += len(raw)
        self.taken.append(line)
        return line


def _cell(text: str, index: int, separator: str, line: int) -> tuple[int, int]:
    """Line and column where cell `index` of a CSV record starts; `line` is the record's first."""
    at = 0
    pattern = re.compile(rf'"(?:[^"]|"")*+"|[^{separator}\r\n]*+')
    for _ in range(index):
        match = pattern.match(text, at)
        at = match.end() + 1 if match else at
    lines = text.count("\n", 0, at)
    return line + lines, at - (text.rfind("\n", 0, at) + 1) + 1


def read_parquet(path: Path, log: Log) -> Iterator[Row]:
    """Rows of a Parquet file; a place is the row's and the column's number. InputError for a damaged file."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in sorted({name for name in names if names.count(name) > 1}):
                place = (1, len(names) - names[::-1].index(name))
                log.add(place, name, *_TWICE)
            if log.total:
                return
            before = 0
            for batch in file.iter_batches(batch_size=1000):
                for number, value in enumerate(batch.to_pylist(), before + 1):
                    yield _ParquetRow(number, value)
                before += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{log.path} is damaged.", f"Parquet says: {error}", "Write or download it again.") from error


class _ParquetRow(Row):
    __slots__ = ()

    def place(self, path: locate.Path, key: bool = False) -> tuple[int, int]:
        return self.line, list(self.value).index(path[0]) + 1 if path else 1
