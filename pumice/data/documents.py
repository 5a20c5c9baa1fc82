"""Documents as text rows: one document is one row, and a folder is its documents in the order of their names.

One document is in memory at a time. Knows no kind of data but text.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pumice.data import magic
from pumice.data.extract import DocumentError, Extract
from pumice.data.markup_text import read_docx, read_html, read_plain
from pumice.data.pdf_text import read_pdf
from pumice.data.rows import Log, Row
from pumice.errors import InputError
from pumice.store.files import sha256_file

_READERS: dict[str, Callable[[Path], Extract]] = {
    ".pdf": read_pdf,
    ".docx": read_docx,
    ".html": read_html,
    ".htm": read_html,
    ".md": read_plain,
    ".markdown": read_plain,
}
ENDINGS = tuple(_READERS)
"""Of files that are one document each."""
IN_FOLDERS = _READERS | {".txt": read_plain}
"""Those that are read in a folder. There a text file is one document too."""
_NAMED = 5


class Folder(NamedTuple):
    """What lies in a folder and the folders in it: paths relative to it, in order."""

    documents: tuple[str, ...]
    others: tuple[str, ...]
    """What is not read: files of other endings, hidden ones, hidden and linked folders."""


def are_documents(path: Path) -> bool:
    """Whether `path` is read as documents: a folder, or a file with the ending of one."""
    return path.is_dir() or path.suffix.lower() in _READERS


def in_folder(folder: Path) -> Folder:
    """All files, sub-folders too, by their paths' code points, so in the same order for ever and everywhere.

    Raises `InputError` for a folder that may not be read.
    """
    documents: list[str] = []
    others: list[str] = []
    for here, folders, files in os.walk(folder, onerror=_refuse):
        inside = Path(here).relative_to(folder)
        left_out = {name for name in folders if name.startswith(".") or (Path(here) / name).is_symlink()}
        others += [f"{(inside / name).as_posix()}/" for name in left_out]
        folders[:] = [name for name in folders if name not in left_out]
        for name in files:
            # Word keeps a file ~$name beside each document that is open.
            known = Path(name).suffix.lower() in IN_FOLDERS and not name.startswith((".", "~$"))
            good = known and (Path(here) / name).is_file()
            (documents if good else others).append((inside / name).as_posix())
    return Folder(tuple(sorted(documents, key=_order)), tuple(sorted(others, key=_order)))


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file; of a folder, over the names and contents of its documents in their order."""
    if not path.is_dir():
        return sha256_file(path)
    digest = hashlib.sha256()
    for name in in_folder(path).documents:
        digest.update(_order(name) + b"\0" + sha256_file(path / name).encode() + b"\n")
    return digest.hexdigest()


def names_of(path: Path, name: str) -> tuple[str, ...]:
    """What a user calls each document of `path`, which itself is called `name`; nothing where rows are no documents."""
    if not are_documents(path):
        return ()
    if not path.is_dir():
        return (name,)
    return tuple(f"{name.rstrip('/')}/{_shown(each)}" for each in in_folder(path).documents)


def read_document(path: Path, log: Log) -> Iterator[Row]:
    """One document as one row; what is wrong with it goes to `log`."""
    log.documents = names_of(path, log.path)
    yield from _rows([path], log)


def read_folder(folder: Path, log: Log) -> Iterator[Row]:
    """Each document of a folder as a row; what is wrong with one goes to `log` under its own path."""
    found = in_folder(folder)
    log.documents = names_of(folder, log.path)
    count = "1 document" if len(found.documents) == 1 else f"{len(found.documents):,} documents"
    log.note(f"The folder holds {count}; each was read as one row of text.")
    if found.others:
        log.note(f"Not read, as they are no documents: {_some(found.others)}.")
    yield from _rows([folder / name for name in found.documents], log)


def _rows(paths: Sequence[Path], log: Log) -> Iterator[Row]:
    left_out = _LeftOut()
    for number, path in enumerate(paths, 1):
        try:
            extract = _read(path)
        except DocumentError as error:
            log.add((number, error.at), "", error.what, error.fix)
            continue
        left_out.add(extract, path, log.documents[number - 1])
        yield Row(number, {"text": extract.text})
    for note in left_out.notes():
        log.note(note)


def _read(path: Path) -> Extract:
    suffix = path.suffix.lower()
    try:
        if found := magic.mistake(path, suffix):
            raise DocumentError(f"The file {found.what} {found.why}", found.fix)
        if path.stat().st_size == 0:
            raise DocumentError("The file is empty.", "Fill it, or take it out.")
        extract = IN_FOLDERS[suffix](path)
    except OSError as error:
        raise DocumentError(f"The file cannot be read: {error.strerror}.", "Check its permissions.") from error
    if not extract.text:
        raise DocumentError("The document holds no text.", "Fill it, or take it out.")
    return extract


class _LeftOut:
    """What was not taken of some documents, for the notes at their end."""

    def __init__(self) -> None:
        self.repeated = self.unreadable = 0
        self.pictures: list[str] = []
        self.html = False

    def add(self, extract: Extract, path: Path, name: str) -> None:
        self.repeated += extract.repeated
        self.unreadable += extract.unreadable
        self.pictures += [f"page {page} of {name}" for page in extract.pictures]
        self.html |= IN_FOLDERS[path.suffix.lower()] is read_html

    def notes(self) -> Iterator[str]:
        if self.repeated:
            lines = "1 repeated line was" if self.repeated == 1 else f"{self.repeated:,} repeated lines were"
            yield f"{lines} left out: headers, footers and page numbers of PDF pages."
        if self.unreadable:
            characters = "character was" if self.unreadable == 1 else "characters were"
            yield f"{self.unreadable:,} {characters} left out that no text holds, such as control codes."
        if self.pictures:
            pages = "1 page has" if len(self.pictures) == 1 else f"{len(self.pictures):,} pages have"
            yield f"{pages} no text, as pictures are not read: {_some(self.pictures)}."
        if self.html:
            yield "Scripts, styles and navigation of HTML pages were left out."


def _order(name: str) -> bytes:
    """One spelling for accents, which some systems write in two parts."""
    return os.fsencode(unicodedata.normalize("NFC", name))


def _shown(name: str) -> str:
    """A name that can be printed, though its bytes are no text."""
    return os.fsencode(name).decode("utf-8", "replace")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(_shown, names[:_NAMED])) + more


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}.", "", "Check its permissions.") from error
