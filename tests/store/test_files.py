"""Files are whole or absent; hashes follow content."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

from pumice.store.files import fix_missing, sha256_file, sha256_folder_weights, write_atomic

FAILS_HALFWAY = """
import resource, signal, sys
from pathlib import Path
from pumice.store.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), "x" * 5000)
except OSError:
    print("refused")
"""


def test_text_and_bytes_are_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomic(path, "först")
    assert path.read_bytes() == "först".encode()
    write_atomic(path, b"\x00then")
    assert path.read_bytes() == b"\x00then"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("")
    write_atomic(atomic, "")
    assert atomic.stat().st_mode == plain.stat().st_mode


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", FAILS_HALFWAY, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", (b"a" * 200_000, b"b" * 300_000)
    write_atomic(path, contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(60):
        write_atomic(path, contents[turn % 2])
    done.set()
    reader.join()
    assert seen <= set(contents)


def test_a_file_is_hashed_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"weights" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"weights" * 100_000).hexdigest()


def test_a_folder_is_hashed_by_its_weights_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    before = sha256_folder_weights(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert sha256_folder_weights(tmp_path) == before
    first.write_bytes(b"2")
    second.write_bytes(b"1")
    assert sha256_folder_weights(tmp_path) != before


def test_names_near_to_a_missing_one_are_told_and_a_folder_that_cannot_be_listed_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / "faq.jsonl").touch()
    assert fix_missing(tmp_path / "recipe.yml") == "In that folder there is: recipe.yaml."
    for path in (tmp_path / "other", tmp_path / "none" / "recipe.yml", tmp_path / "recipe.yaml" / "recipe.yml"):
        assert fix_missing(path) == "Check the path."
