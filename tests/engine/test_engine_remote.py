"""A server elsewhere is taken only where it has the model and gives ids; what else it says is a sentence."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pumice.config import Serving
from pumice.engine.pool import Pool
from pumice.errors import InputError, PumiceError, UnavailableError
from pumice.records import Base


class Peer(BaseHTTPRequestHandler):
    """What most servers of OpenAI's API do: text, and no ids. `key` is the one that it asks for."""

    model = key = ""

    def do_GET(self) -> None:
        self._send({"data": [{"id": self.model}]} if self.path == "/v1/models" else None)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "text": " and", "finish_reason": "length"}
        self._send({"choices": [choice]} if self.path == "/v1/completions" else None)

    def _send(self, answer: dict[str, Any] | None) -> None:
        known = not self.key or self.headers["Authorization"] == f"Bearer {self.key}"
        status = (200 if answer else 404) if known else 401
        body = json.dumps(answer if status == 200 else {"error": {"message": "no"}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def peer(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of one that has the tiny base."""
    monkeypatch.setattr(Peer, "model", tiny.folder.name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/"
    server.shutdown()
    server.server_close()


async def refusal(folder: Path, cache: Path, url: str, key: str | None = None) -> PumiceError:
    """What is said instead of an answer."""
    async with Pool(cache, serving=Serving(url, key=key)) as pool:
        with pytest.raises(PumiceError) as caught:
            await pool.get(folder)
        assert await pool.stats() == []
    return caught.value


async def test_a_server_that_gives_no_ids_is_refused(tiny: Base, cache: Path, peer: str) -> None:
    error = await refusal(tiny.folder, cache, peer)
    assert isinstance(error, InputError)
    assert "gives no token ids back" in error.what and "chat peer only" in error.why


async def test_another_model_is_not_taken_for_this_one(
    tiny: Base, cache: Path, peer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Peer, "model", "another")
    error = await refusal(tiny.folder, cache, peer)
    assert isinstance(error, InputError)
    assert f"does not have the model {tiny.folder.name}; it has another" in error.what


async def test_a_key_that_is_wrong_or_missing_is_said(
    tiny: Base, cache: Path, peer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Peer, "key", "right")
    for key in (None, "wrong"):
        error = await refusal(tiny.folder, cache, peer, key)
        assert isinstance(error, UnavailableError) and "PUMICE_ENGINE_KEY" in error.fix
    assert "gives no token ids" in (await refusal(tiny.folder, cache, peer, "right")).what


async def test_a_server_that_is_not_there_and_capacity_on_one(tiny: Base, cache: Path) -> None:
    # A port that nobody may listen on, with a secret that no message may show.
    error = await refusal(tiny.folder, cache, "http://me:secret@127.0.0.1:1")
    assert isinstance(error, UnavailableError)
    assert "http://127.0.0.1:1 does not answer" in error.what and "secret" not in str(error)
    with pytest.raises(InputError, match=r"cannot be reserved on http://127\.0\.0\.1:1"):
        Pool(cache, serving=Serving("http://127.0.0.1:1")).check(tiny.folder, 1)
