"""Importing and deleting models from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pumice.cli import app
from pumice.config import Home
from pumice.errors import ConflictError
from pumice.records import Base


@pytest.fixture(autouse=True)
def in_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(home.root))


def pumice(*words: str | Path, typed: str = "") -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], input=typed, catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return str(done.stdout)


def listed() -> list[str]:
    return [f"{model['name']}@{model['version']}" for model in json.loads(pumice("models", "list", "--json"))]


def test_import_then_delete(tiny: Base) -> None:
    told = json.loads(pumice("models", "import", tiny.folder, "--name", "own", "--json"))
    assert (told["name"], told["version"], told["method"]) == ("own", 1, "import")
    pumice("models", "import", tiny.folder, "--name", "own")
    pumice("models", "show", "own@1")
    pumice("models", "delete", "own@1", typed="n\n")
    assert listed() == ["own@2", "own@1"]
    pumice("models", "delete", "own@1", typed="y\n")
    assert listed() == ["own@2"]
    pumice("models", "stage", "own@2", "production")
    with pytest.raises(ConflictError, match="is in production"):
        pumice("models", "delete", "own@2", "--yes")
    pumice("models", "stage", "own@2", "archived")
    pumice("models", "delete", "own@2", "--yes")
    assert listed() == []
