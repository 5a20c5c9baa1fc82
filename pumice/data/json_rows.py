"""JSON lines and JSON arrays as rows. Knows no kind of data."""

from __future__ import annotations

import io
import json
import mmap
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from pumice.data import broken, locate
from pumice.data.rows import BUFFER, Log, Row, note_accepted, start_of_text


def read_json(path: Path, log: Log) -> Iterator[Row]:
    """JSON lines or one JSON array, whatever the name says."""
    with io.BufferedReader(io.FileIO(path), BUFFER) as file:
        start = start_of_text(file, log)
        head = file.read(4096)
        file.seek(start)
        first = head.lstrip()[:1]
        is_array = first == b"["
        if is_array and path.suffix.lower() != ".json":
            log.note("The file holds one JSON array, not JSON lines; its elements were read as rows.")
        if is_array:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield from _Array(data, start, log).rows()
            return
        if first == b"{" and path.suffix.lower() == ".json":
            log.note("The file holds JSON lines, not one JSON array; each line was read as a row.")
        yield from _json_lines(file, log)


class _JsonRow(Row):
    __slots__ = ("column", "raw")

    def __init__(self, line: int, value: Any, raw: bytes, column: int = 1) -> None:
        self.line, self.value, self.raw, self.column = line, value, raw, column

    def place(self, path: locate.Path, key: bool = False) -> tuple[int, int]:
        return locate.position(self.raw, locate.find(self.raw, path, key), self.line, self.column)

    def doubled(self, keys: tuple[str, ...]) -> str | None:
        for key in keys:
            # The count is quick and mostly settles it; the same word may still be a value, or stand deeper.
            if self.raw.count(_quoted(key)) > 1 and _top_keys(self.raw).count(key) > 1:
                return key
        return None


@cache
def _quoted(key: str) -> bytes:
    return f'"{key}"'.encode()


def _top_keys(raw: bytes) -> list[str]:
    keys: list[str] = json.loads(raw, object_pairs_hook=lambda pairs: [key for key, _ in pairs])
    return keys


def _json_lines(file: io.BufferedReader[io.FileIO], log: Log) -> Iterator[Row]:
    blank, crlf, readable = 0, False, False
    loads, refused = orjson.loads, orjson.JSONDecodeError
    for number, raw in enumerate(file, 1):
        if number == 1:
            crlf = raw.endswith(b"\r\n")
        try:
            value = loads(raw)
        except refused:
            if not raw.strip():
                blank += 1
                continue
            fault = broken.explain(raw) if log.wants(number) else None
            if fault and fault.cut and file.peek(1):
                fault = fault._replace(rule="A row is spread over several lines, or was cut.", fix=_ONE_LINE)
            _broken(raw, file.tell() - len(raw), (number, 1), fault, log)
            if fault and fault.cut and not readable and number == 1 + blank:
                return
            continue
        readable = True
        yield _JsonRow(number, value, raw)
    note_accepted(log, crlf, blank)


def _broken(raw: bytes, start: int, place: tuple[int, int], fault: broken.Fault | None, log: Log) -> None:
    """Logs why a row's text is not JSON; `start` is its byte offset in the file."""
    if fault is None:
        log.total += 1
        return
    where = f" (byte {start + fault.offset + 1:,} of the file)." if fault.byte else "."
    log.add(locate.position(raw, fault.offset, *place), "", fault.rule[:-1] + where, fault.fix)


class _Array:
    """The elements of one JSON array, cut out of the file one by one, so that each knows its line and column."""

    def __init__(self, data: mmap.mmap, start: int, log: Log) -> None:
        self.data, self.log = data, log
        self.at, self.line, self.column = start, 1, 1

    def rows(self) -> Iterator[Row]:
        """Each element in file order; stops where the array itself is broken."""
        self._move(self.data.find(b"[", self.at) + 1)
        comma, count = False, 0
        while True:
            self._move(self._after(_SPACE))
            here = self.data[self.at : self.at + 1]
            if here in (b"]", b""):
                self._close(bool(here), trailing=comma)
                return
            if count and not comma:
                self._say("A comma is missing between two rows.", "Put a comma behind each row but the last.")
            place, start, stop = (self.line, self.column), self.at, self._element()
            raw = self.data[start:] if stop < 0 else self.data[start:stop]
            self._move(start + len(raw))
            try:
                yield _JsonRow(place[0], orjson.loads(raw), raw, place[1])
            except orjson.JSONDecodeError:
                _broken(raw, start, place, broken.explain(raw) if self.log.wants(place[0]) else None, self.log)
            if stop < 0:
                return
            count += 1
            self._move(self._after(_SPACE))
            comma = self.data[self.at : self.at + 1] == b","
            if comma:
                self._move(self.at + 1)

    def _element(self) -> int:
        """Where the element that starts here ends; -1 if it never does."""
        if self.data[self.at : self.at + 1] in (b"{", b"["):
            return locate.end(self.data, self.at)
        return max(self._after(_WORD), self.at + 1)

    def _close(self, closed: bool, trailing: bool) -> None:
        if not closed:
            self._say(
                "The file ends before the array is closed.", "It was cut off: write it again, or close it with ]."
            )
            return
        if trailing:
            self._say("A comma stands before the closing bracket.", "Delete that comma.")
        self._move(self.at + 1)
        self._move(self._after(_SPACE))
        if self.at < len(self.data):
            self._say("Text follows the closing bracket.", "A JSON file holds one array and nothing after it.")

    def _say(self, rule: str, fix: str) -> None:
        self.log.add((self.line, self.column), "", rule, fix)

    def _after(self, pattern: re.Pattern[bytes]) -> int:
        match = pattern.match(self.data, self.at)
        return match.end() if match else self.at

    def _move(self, to: int) -> None:
        passed = self.data[self.at : to]
        self.line, self.column = locate.position(passed, len(passed), self.line, self.column)
        self.at = to


_ONE_LINE = "Put each row on one line, or write the rows as one JSON array: [ … , … ]."
_SPACE = re.compile(rb"[ \t\r\n]*+")
_WORD = re.compile(locate.STRING + rb"|[^,\[\]{}\n]++")
