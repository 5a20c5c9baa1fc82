"""A real server with a key and the built console, and Chromium's tests of it; skipped without Node or Chromium."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import browsing
import pytest

from pumice.api.identity import Identity
from pumice.config import Home
from pumice.records import Base, Role
from pumice.store.tables import open_database

sys.path.append(str(Path(__file__).parents[1] / "api"))

from live_server import serving


@dataclass(frozen=True)
class Console:
    """Where the console answers, and a key of an admin's."""

    url: str
    key: str


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the console's source, with its packages, once it is built."""
    if not browsing.ready():
        pytest.skip("the console is not built: make install builds it where Node is")
    return browsing.WEB


@pytest.fixture(scope="module")
def console(base: Base, session_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A server over an empty home, but for the default base; it asks for a key, and its log keeps words."""
    home = Home(tmp_path_factory.mktemp("console"))
    home.bases.symlink_to(session_home.bases)
    key = Identity(open_database(home.database), home).create("owner", Role.ADMIN)
    with serving(home, bodies=True) as url:
        yield Console(url, key.secret)


@pytest.fixture
def browse(console: Console, chromium: str, built: Path) -> Callable[[str], None]:
    """Runs one of the browser's test files against the server."""

    def run(name: str) -> None:
        browsing.browse(name, url=console.url, key=console.key, chromium=chromium)

    return run
