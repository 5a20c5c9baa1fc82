"""Rows of tokens that are kept on disk by what they were made of, so that nothing is read or tokenised twice.

Whoever changes a file, a base or a setting gets another key, and so other rows. Anything here may be deleted at will.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow

from pumice import data
from pumice.config import Home
from pumice.data.token_rows import Rows, unpickled
from pumice.data.tokenise import Fitted
from pumice.errors import InputError
from pumice.records import Example
from pumice.store.files import write_atomic

MOST = 10_000_000_000
"""Bytes that all entries may take together; beyond, those go first that were not used for longest."""
_READERS = ("tokenizers", "jinja2", "orjson", "pyarrow", "pypdf", "mammoth", "markdownify", "beautifulsoup4", "lxml")
_ROWS, _ABOUT, _UNFINISHED = "rows.arrow", "about.pickle", ".unfinished-"
_DAY = 86400


def key_of(*parts: object) -> str:
    """The name of what is made of `parts`, which are plain values, by the code that makes rows as it is now."""
    return hashlib.sha256(json.dumps([_makers(), *parts]).encode()).hexdigest()


@cache
def _makers() -> str:
    """Hash of the programs and libraries between a file and its rows."""
    digest = hashlib.sha256(platform.python_version().encode())
    for name in _READERS:
        digest.update(f"{name} {version(name)}\n".encode())
    here = Path(data.__file__).parent
    for path in (*sorted(here.rglob("*.py")), *sorted((here.parent / "train" / "methods").glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kept_in(home: Home) -> Kept:
    """Where a home keeps them."""
    return Kept(home.cache / "rows")


class Kept:
    """A folder of entries: what was found out about a file, and rows of tokens with the rows that were held out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def facts(self, key: str) -> dict[str, Any] | None:
        """What was found out about a file."""
        try:
            found: dict[str, Any] = json.loads((self.folder / f"{key}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            # Not there, or damaged by a disk: it can be found out again.
            return None
        return found

    def keep_facts(self, key: str, facts: dict[str, Any]) -> None:
        """Keep plain values."""
        write_atomic(self.folder / f"{key}.json", json.dumps(facts))

    def find(self, key: str) -> tuple[Fitted, tuple[Example, ...]] | None:
        """The rows under a key, mapped into memory, and the examples that were held out; None where there are none."""
        entry = self.folder / key
        try:
            note, held = unpickled((entry / _ABOUT).read_bytes())
            found = Fitted(Rows.open(entry / _ROWS), note), held
            os.utime(entry)
        except FileNotFoundError:
            return None
        except (pyarrow.ArrowException, pickle.UnpicklingError, EOFError):
            # A disk that lost something: what is kept here can be made again.
            shutil.rmtree(entry, ignore_errors=True)
            return None
        return found

    @contextmanager
    def making(self) -> Iterator[Path]:
        """A file to write rows to, on the same disk, which is gone afterwards unless it was kept.

        Raises `InputError` where the disk has no room for them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=_UNFINISHED, ignore_cleanup_errors=True) as folder:
            entry = Path(folder) / "entry"
            entry.mkdir()
            try:
                yield entry / _ROWS
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise InputError(
                    f"The disk has no room for the tokens of the data: {self.folder}",
                    "They take about five bytes a token there while a job trains on them.",
                    "Free some room, or let PUMICE_HOME lie on another disk.",
                ) from error

    def keep(self, key: str, file: Path, made: Fitted, held: tuple[Example, ...]) -> None:
        """Keep rows that were written to a file of `making`; what another process has kept meanwhile stays."""
        with file.open("rb+") as written:
            os.fsync(written.fileno())
        file.with_name(_ABOUT).write_bytes(pickle.dumps((made.note, held)))
        # The same key means the same rows, so it does not matter whose they are.
        with suppress(OSError):
            file.parent.rename(self.folder / key)
        self._trim(key)

    def _trim(self, newest: str) -> None:
        entries: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                age = path.stat().st_mtime
                if path.name.startswith(_UNFINISHED):
                    # Its process was killed; one that still writes is younger.
                    if age < time.time() - _DAY:
                        shutil.rmtree(path, ignore_errors=True)
                elif path.name != newest:
                    entries.append((age, _size(path), path))
        room = MOST - _size(self.folder / newest)
        for _, size, path in sorted(entries, reverse=True):
            room -= size
            if room < 0:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.iterdir()) if path.is_dir() else path.stat().st_size
