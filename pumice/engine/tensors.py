"""Reads and writes safetensors files tensor by tensor with numpy alone, so that files larger than memory pass.

This module knows no model: it sees names, shapes and numbers.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumice.errors import InputError, NotFoundError

Array = NDArray[np.float32]

_STORED: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True)
class Entry:
    """One tensor of a safetensors file, not yet read."""

    file: Path
    name: str
    dtype: str
    """As safetensors calls it: F32, F16, BF16 and others that `read` refuses."""
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    end: int

    @property
    def plain(self) -> bool:
        """Whether it holds plain floating-point weights."""
        return self.dtype in _STORED

    def check(self) -> None:
        """Raises InputError when it is not `plain`."""
        if not self.plain:
            raise InputError(
                f"{self.file.name} holds {self.name} as {self.dtype}.",
                f"Only {', '.join(_STORED)} weights can be converted.",
                "Use the unquantised model.",
            )

    def read(self) -> Array:
        """The tensor as float32, row-major. Raises as `check` does."""
        self.check()
        stored = np.memmap(self.file, np.uint8, "r", self.start, (self.end - self.start,))
        values = stored.view(_STORED[self.dtype]).reshape(self.shape)
        if self.dtype == "BF16":
            widened: Array = (values.astype(np.uint32) << 16).view(np.float32)
            return widened
        return np.asarray(values, np.float32)


def entries(file: Path) -> list[Entry]:
    """What one safetensors file holds, in the order of its header. Reads no weights."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(length)) if length < file.stat().st_size else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise InputError(f"{file} is no safetensors file.", "Its header cannot be read.", "Fetch or save it again.")
    header.pop("__metadata__", None)
    return [
        Entry(file, name, facts["dtype"], tuple(facts["shape"]), *(8 + length + at for at in facts["data_offsets"]))
        for name, facts in header.items()
    ]


def folder_entries(folder: Path) -> list[Entry]:
    """The tensors of every safetensors file of a folder. Raises NotFoundError when it holds none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise NotFoundError(f"{folder} holds no *.safetensors file.", "", "Save the weights as safetensors.")
    return [entry for file in files for entry in entries(file)]


def write(out: Path, shapes: Iterable[tuple[str, str, tuple[int, ...]]], values: Iterable[Array]) -> None:
    """A safetensors file of `(name, dtype, shape)` and, in the same order, their float32 values, rounded to dtype."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    dtypes = []
    for name, dtype, shape in shapes:
        start, end = end, end + int(np.prod(shape, dtype=np.int64)) * _STORED[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        dtypes.append(dtype)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(out) as part, part.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for dtype, array in zip(dtypes, values, strict=True):
            _rounded(array, dtype).tofile(stream)


def _rounded(array: Array, dtype: str) -> NDArray[Any]:
    if dtype != "BF16":
        return array.astype(_STORED[dtype])
    bits = np.ascontiguousarray(array).view(np.uint32)
    # Round half to even, as torch does; a NaN must not be rounded into an infinity.
    nearest = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    return np.where(np.isnan(array), np.uint16(0x7FC0), nearest)


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A name to write to that becomes `out` when all went well; two processes may do so at once."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
