"""A file, or a folder of documents, becomes rows, in constant memory, by what its name says.

Knows no kind of data: a row is keys and values.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pumice.data import documents, magic
from pumice.data.json_rows import read_json
from pumice.data.rows import BUFFER, Log, Row, decoded, start_of_text
from pumice.data.table_rows import read_csv, read_parquet
from pumice.errors import InputError, NotFoundError
from pumice.store.files import fix_missing, names


def rows(path: Path, log: Log) -> Iterator[Row]:
    """Every readable row of a file, or of a folder of documents; what is unreadable goes to `log`.

    Raises InputError where no row can be read at all: no such file, another format than the name says.
    """
    reader = openable(path, log.path)
    if path.is_file() and path.stat().st_size == 0:
        log.add((1, 1), "", "The file is empty.", "Write at least one row.")
        return
    yield from reader(path, log)


def openable(path: Path, name: str) -> Callable[[Path, Log], Iterator[Row]]:
    """The reader for a path, by its ending; InputError if it is not there or not what its ending says.

    `name` is the user's word for it.
    """
    if re.match(r"[a-z][a-z0-9]+:/", str(path)):
        fix = "Copy the file here first."
        raise InputError(f"{name} is not on this machine.", "Pumice reads files, and s3:// addresses of its own.", fix)
    if path.is_dir():
        if documents.in_folder(path).documents:
            return documents.read_folder
        rule = f"A folder is read for its documents ({', '.join(documents.IN_FOLDERS)}), and it holds none."
        raise InputError(f"{name} is a folder without documents.", rule, f"Name a file in it: {_in_folder(path)}.")
    if not path.exists():
        raise NotFoundError(f"{name} does not exist.", "", fix_missing(path))
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise InputError(
            f"{name}: the format {suffix or '(no ending)'} is not known.",
            f"Pumice reads {', '.join(_READERS)}, and folders of documents.",
            "Rename the file by what it holds.",
        )
    try:
        mistake = magic.mistake(path, suffix)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.", "", "Check its permissions.") from error
    if mistake:
        raise InputError(f"{name} {mistake.what}", mistake.why, mistake.fix)
    return _READERS[suffix]


def _in_folder(folder: Path) -> str:
    found = [name for name in names(folder) if Path(name).suffix.lower() in _READERS]
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
    **dict.fromkeys(documents.ENDINGS, documents.read_document),
}
