"""The files that came over the OpenAI API or were made for it: one folder and one document each. Knows no HTTP."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from pumice.api.openai.refusals import Refusal
from pumice.config import Home
from pumice.errors import NotFoundError
from pumice.records import Document
from pumice.store.documents import Documents
from pumice.store.files import write_atomic

KIND = "openai-file"


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class Files:
    """The files of one home. All of it blocks. One that has expired is gone, and removed when next looked for."""

    def __init__(self, home: Home, documents: Documents) -> None:
        self._folder, self._documents = home.files, documents

    def new(self) -> tuple[str, Path]:
        """An id for a file to come, and its empty folder. Later ids are greater, so that a list has an order."""
        id = f"file-{time.time_ns() // 1000:014x}{secrets.token_hex(6)}"
        folder = self._folder / id
        folder.mkdir(parents=True)
        return id, folder

    def keep(self, id: str, file: Path, purpose: str, seconds: int | None = None) -> FileObject:
        """Enter what lies in the folder of `id`, for so many seconds or for ever."""
        expires_at = None if seconds is None else int(time.time()) + seconds
        body = {"filename": file.name, "purpose": purpose, "bytes": file.stat().st_size, "expires_at": expires_at}
        return _shown(self._documents.add(KIND, id, body))

    def write(self, filename: str, purpose: str, content: bytes) -> FileObject:
        """Keep a file that was made here."""
        id, folder = self.new()
        write_atomic(folder / filename, content)
        return self.keep(id, folder / filename, purpose)

    def get(self, id: str, param: str = "id") -> FileObject:
        """One file's entry. Raises `Refusal` when there is none; `param` is the field that names it."""
        found = self._documents.find(KIND, id)
        if found and not self._expired(found):
            return _shown(found)
        raise Refusal(404, f"No such File object: {id}", param=param, code="file_not_found")

    def path(self, id: str, param: str = "id") -> Path:
        """Where the content of a file lies. Raises `Refusal` when there is no such file."""
        path = self._folder / id / self.get(id, param).filename
        if not path.is_file():
            raise Refusal(404, f"The content of {id} is gone from the server's disk.", param=param)
        return path

    def list(self) -> list[FileObject]:
        """All files, the newest first."""
        kept = [_shown(each) for each in self._documents.list(KIND) if not self._expired(each)]
        return sorted(kept, key=lambda file: file.id, reverse=True)

    def delete(self, id: str) -> None:
        """Remove a file. Jobs that were made from it keep what they have. Raises `Refusal` when there is none."""
        self.get(id)
        self._remove(id)

    def _expired(self, document: Document) -> bool:
        until = document.body["expires_at"]
        over = until is not None and until <= time.time()
        if over:
            self._remove(document.name)
        return over

    def _remove(self, id: str) -> None:
        try:
            self._documents.delete(KIND, id)
        except NotFoundError:
            return  # Somebody else was first.
        shutil.rmtree(self._folder / id, ignore_errors=True)


def _shown(document: Document) -> FileObject:
    return FileObject(id=document.name, created_at=int(document.created.timestamp()), **document.body)
