"""Files that are whole or absent, and their hashes. Knows nothing of what they hold."""

from __future__ import annotations

import difflib
import hashlib
import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, content: str | bytes, private: bool = False) -> None:
    """Write `content` so that a reader, or a power cut, sees the old file or the new one and nothing between.

    A private file is readable by its owner alone, from its first byte on.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; what we write is as readable as the folder it lies in.
        if not private:
            Path(temporary).chmod(0o666 & ~_UMASK)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def names(folder: Path) -> list[str]:
    """What lies in a folder, in name order; nothing where there is none that can be listed."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def fix_missing(path: Path) -> str:
    """What to do about a file that is not there: the names beside it that are nearest to its own."""
    near = difflib.get_close_matches(path.name, names(path.parent), 3, 0.5)
    return f"In that folder there is: {', '.join(near)}." if near else "Check the path."


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder_weights(folder: Path) -> str:
    """Hex SHA-256 over the names and contents of the folder's `*.safetensors`, in name order."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def _read_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


# Read once at import: os.umask can only be read by setting it, which is not safe in threads.
_UMASK = _read_umask()
