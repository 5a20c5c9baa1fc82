"""Checkpoints that count only when they are whole. Knows files, not what is in them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from pumice.records import Event, Tell
from pumice.store.files import write_atomic

MARK = "complete.json"


def mark(checkpoint: Path) -> None:
    """Declare a checkpoint whole: its files reach the disk first, then a list of them with their sizes."""
    sizes: dict[str, int] = {}
    # A second adapter, such as the reference of dpo, lies in a folder of its own.
    for path in sorted(each for each in checkpoint.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.relative_to(checkpoint).as_posix()] = path.stat().st_size
    write_atomic(checkpoint / MARK, json.dumps(sizes))


def newest(folder: Path, tell: Tell) -> Path | None:
    """The latest whole checkpoint, or None. Others are told of and removed."""
    found = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    whole = [path for path in found if is_whole(path)]
    for path in found:
        if path not in whole:
            tell(Event("note", {"text": f"{path.name} is not whole and is left out."}))
            shutil.rmtree(path)
    return whole[0] if whole else None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of its mark is there, in full length."""
    try:
        sizes = json.loads((checkpoint / MARK).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
