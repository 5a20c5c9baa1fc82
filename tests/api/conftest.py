"""One real server for this folder: the default base, and two adapters over a tiny one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from live_server import Live, register, serving, write_adapter
from openai import OpenAI

from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base


@pytest.fixture(scope="session")
def live(session_home: Home, base: Base, tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests here that do not change it."""
    folder = tmp_path_factory.mktemp("adapters")
    small = resolve.resolve(str(tiny.folder), session_home)
    for name, token in (("red", 1000), ("blue", 2000)):
        register(session_home, small, name, write_adapter(small, token, folder / name))
    with serving(session_home) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none is asked for", max_retries=0, timeout=120)
        yield Live(url, ("127.0.0.1", urlsplit(url).port or 0), client, session_home, base, small)
        client.close()
