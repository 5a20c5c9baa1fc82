"""The one real run that many tests look at: `pumice quickstart` with the real default model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pumice.config import Home
from pumice.records import Base


@dataclass(frozen=True)
class Ran:
    """What `pumice quickstart --json` printed."""

    document: dict[str, Any]
    story: str


Pumice = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(session_home: Home, base: Base) -> dict[str, str]:
    """The shared home, in which the default base is unpacked already."""
    return {**os.environ, "PUMICE_HOME": str(session_home.root)}


@pytest.fixture(scope="session")
def pumice(environment: dict[str, str]) -> Pumice:
    """Run `pumice …` to its end."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pumice", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


@pytest.fixture(scope="session")
def quickstart(pumice: Pumice) -> Ran:
    """The quickstart, once."""
    done = pumice("quickstart", "--json")
    assert done.returncode == 0, done.stderr
    return Ran(json.loads(done.stdout), done.stderr)
