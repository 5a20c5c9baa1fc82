"""A checkpoint counts when it is whole, and only then."""

from __future__ import annotations

from pathlib import Path

from pumice.records import Event
from pumice.train import checkpoints


def saved(folder: Path, step: int, marked: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "weights").write_bytes(b"w" * step)
    (path / "optimizer").write_bytes(b"o" * step)
    if marked:
        checkpoints.mark(path)
    return path


def test_what_lies_in_a_folder_counts_as_well(tmp_path: Path) -> None:
    """A second adapter, such as the reference of dpo, is saved beside the first in a folder of its own."""
    expected, spoilt = saved(tmp_path, 1), saved(tmp_path, 2, marked=False)
    (spoilt / "ref").mkdir()
    (spoilt / "ref" / "weights").write_bytes(b"ref")
    checkpoints.mark(spoilt)
    assert found(tmp_path) == (spoilt, [])
    (spoilt / "ref" / "weights").write_bytes(b"re")
    assert found(tmp_path) == (expected, ["checkpoint-2 is not whole and is left out."])


def found(folder: Path) -> tuple[Path | None, list[str]]:
    notes: list[Event] = []
    newest = checkpoints.newest(folder, notes.append)
    return newest, [note.data["text"] for note in notes]


def test_the_newest_by_number_is_taken(tmp_path: Path) -> None:
    saved(tmp_path, 9)
    expected = saved(tmp_path, 10)
    assert found(tmp_path) == (expected, [])
    assert found(tmp_path / "none") == (None, [])


def test_one_that_was_not_finished_is_left_out_and_said(tmp_path: Path) -> None:
    expected = saved(tmp_path, 9)
    broken = saved(tmp_path, 10, marked=False)
    assert found(tmp_path) == (expected, ["checkpoint-10 is not whole and is left out."])
    assert not broken.exists()


def test_one_with_a_short_or_missing_file_or_a_spoilt_list_is_left_out(tmp_path: Path) -> None:
    expected = saved(tmp_path, 1)
    (saved(tmp_path, 2) / "weights").write_bytes(b"w")
    (saved(tmp_path, 3) / "optimizer").unlink()
    (saved(tmp_path, 4) / checkpoints.MARK).write_text("{")
    newest, notes = found(tmp_path)
    assert newest == expected
    assert notes == [f"checkpoint-{step} is not whole and is left out." for step in (4, 3, 2)]
