"""A file becomes rows, in constant memory, by what its name says. Knows no kind of data: a row is keys and values."""

from __future__ import annotations

import difflib
import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pumice.data.json_rows import read_json
from pumice.data.rows import BUFFER, Log, Row, decoded, start_of_text
from pumice.data.table_rows import read_csv, read_parquet
from pumice.errors import InputError, NotFoundError

_LATER = {".md", ".html", ".htm", ".pdf", ".docx"}
_MAGIC = {
    b"PAR1": ("a Parquet file", "Name it .parquet."),
    b"\x1f\x8b": ("compressed with gzip", "Unpack it first: gunzip."),
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "Unpack it first, or save the sheet as CSV."),
    b"%PDF": ("a PDF document", "Save its text as .txt."),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "Unpack it first: unzstd."),
    b"\xff\xfe": ("UTF-16 text", "Save it as UTF-8."),
    b"\xfe\xff": ("UTF-16 text", "Save it as UTF-8."),
}


def rows(path: Path, log: Log) -> Iterator[Row]:
    """Every readable row of a .jsonl, .json, .csv, .parquet or .txt file; what is unreadable goes to `log`.

    Raises InputError where no row can be read at all: no such file, a folder, another format than the name says.
    """
    reader = openable(path, log.path)
    if path.stat().st_size == 0:
        log.add((1, 1), "", "The file is empty.", "Write at least one row.")
        return
    yield from reader(path, log)


def openable(path: Path, name: str) -> Callable[[Path, Log], Iterator[Row]]:
    """The reader for a file, by its ending; InputError if the file is not there or not what its ending says.

    `name` is the user's word for the file.
    """
    if re.match(r"[a-z][a-z0-9]+:/", str(path)):
        fix = "Copy the file here first."
        raise InputError(f"{name} is not on this machine.", "Pumice reads files, and s3:// addresses of its own.", fix)
    if path.is_dir():
        fix = f"Name a file in it: {_in_folder(path)}."
        raise InputError(f"{name} is a folder.", "Data is read from one file.", fix)
    if not path.exists():
        near = difflib.get_close_matches(path.name, _names(path.parent), 3, 0.5)
        fix = f"In that folder there is: {', '.join(near)}." if near else "Check the path."
        raise NotFoundError(f"{name} does not exist.", "", fix)
    suffix = path.suffix.lower()
    if suffix in _LATER:
        raise InputError(
            f"{name}: {suffix} documents are not read in this version.",
            "It reads .jsonl, .json, .csv, .parquet and .txt.",
            "Save its text as .txt: one paragraph a row, with blank lines between.",
        )
    if suffix not in _READERS:
        raise InputError(
            f"{name}: the format {suffix or '(no ending)'} is not known.",
            "Pumice reads .jsonl, .json, .csv, .parquet and .txt.",
            "Rename the file by what it holds.",
        )
    _check_magic(path, suffix, name)
    return _READERS[suffix]


def _check_magic(path: Path, suffix: str, name: str) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.", "", "Check its permissions.") from error
    if suffix == ".parquet":
        if start and start != b"PAR1":
            rule = "Parquet files start with PAR1."
            raise InputError(f"{name} is not a Parquet file.", rule, "Rename it by what it holds.")
        return
    for magic, (what, fix) in _MAGIC.items():
        if start.startswith(magic):
            raise InputError(f"{name} is {what}, not {suffix}.", "The first bytes of the file say so.", fix)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _in_folder(folder: Path) -> str:
    found = [name for name in _names(folder) if Path(name).suffix.lower() in _READERS]
    return ", ".join(found[:3]) or "there is none that Pumice reads"


def _read_text(path: Path, log: Log) -> Iterator[Row]:
    """Paragraphs, if there are blank lines between them; else lines."""
    with path.open("rb", buffering=BUFFER) as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            paragraphs = _BLANK_LINE.search(data) is not None
        log.note(f"Each {'paragraph (between blank lines)' if paragraphs else 'line'} was read as one row of text.")
        offset, taken, first = start_of_text(file, log), list[str](), 1
        for number, raw in enumerate(file, 1):
            line = decoded(raw, offset, number, log)
            offset += len(raw)
            if line.strip():
                first = first if taken else number
                taken.append(line.replace("\r\n", "\n"))
            if taken and not (paragraphs and line.strip()):
                yield Row(first, {"text": "".join(taken).rstrip()})
                taken = []
        if taken:
            yield Row(first, {"text": "".join(taken).rstrip()})


_BLANK_LINE = re.compile(rb"\S[ \t\r]*+\n(?:[ \t\r]*+\n)++\s*+\S")
_READERS: dict[str, Callable[[Path, Log], Iterator[Row]]] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".txt": _read_text,
}
