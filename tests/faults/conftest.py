"""A small recipe on the tiny base, and the command line as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pumice.config import Home
from pumice.records import Base

Pumice = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(home: Home) -> dict[str, str]:
    """This process's environment with an empty home."""
    home.root.mkdir()
    return {**os.environ, "PUMICE_HOME": str(home.root)}


@pytest.fixture
def pumice(environment: dict[str, str]) -> Pumice:
    """Run `pumice …` to its end, behind `before` if that is given."""

    def run(*words: str | Path, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [*before, sys.executable, "-m", "pumice", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


@pytest.fixture
def recipe(tiny: Base, tmp_path: Path) -> Path:
    """Forty rows, sixty steps, a checkpoint every fourth."""
    rows = [{"prompt": f"What is fact {n}?", "completion": f"It is {n * 7919 % 997}."} for n in range(40)]
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = tmp_path / "recipe.yaml"
    settings = {"model": str(tiny.folder), "data": "facts.jsonl", "epochs": 12, "batch_size": 8, "save_steps": 4}
    path.write_text("\n".join(f"{key}: {value}" for key, value in settings.items()))
    return path
