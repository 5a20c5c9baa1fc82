"""A hub id becomes plain files through the hub's own client; the hub here is a small server on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

import pytest

from pumice.config import Home
from pumice.records import Base
from pumice.store.files import sha256_folder_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RESOLVE = """
import json, sys
from pathlib import Path
from pumice.bases.resolve import resolve
from pumice.config import Home
from pumice.errors import PumiceError
try:
    base = resolve(sys.argv[1], Home(Path(sys.argv[2])))
    print(json.dumps({"folder": str(base.folder), "source": base.source, "sha256": base.sha256, "window": base.window}))
except PumiceError as error:
    print(json.dumps({"error": type(error).__name__, "what": error.what}))
"""


class Hub(BaseHTTPRequestHandler):
    """What the hub's client asks of the hub to download one model."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        path = urlparse(self.path).path
        self.asked.append(path)
        match path.strip("/").split("/"):
            case ["api", "models", "org", "pickled", *_]:
                self.reply(
                    {"id": "org/pickled", "sha": COMMIT, "siblings": siblings(["config.json", "pytorch_model.bin"])},
                    body,
                )
            case ["api", "models", "org", "tiny", "tree", _]:
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": name}
                    for name, content in self.files.items()
                ]
                self.reply(tree, body)
            case ["api", "models", "org", "tiny", "revision", "nowhere"]:
                self.refuse(404, "RevisionNotFound")
            case ["api", "models", "org", "tiny", *_]:
                self.reply({"id": "org/tiny", "sha": COMMIT, "siblings": siblings(list(self.files))}, body)
            case ["api", "models", "org", "gated", *_]:
                self.refuse(403, "GatedRepo")
            case ["org", "tiny", "resolve", commit, name] if commit == COMMIT:
                self.send(self.files[name], "application/octet-stream", body)
            case _:
                self.refuse(404, "RepoNotFound")

    def reply(self, value: object, body: bool) -> None:
        self.send(json.dumps(value).encode(), "application/json", body)

    def send(self, content: bytes, kind: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


def siblings(names: list[str]) -> list[dict[str, str]]:
    return [{"rfilename": name} for name in names]


@pytest.fixture
def hub(tiny: Base) -> Iterator[type[Hub]]:
    content = {each.name: each.read_bytes() for each in tiny.folder.iterdir()}
    config = json.loads(content["tokenizer_config.json"])
    # An older repository: its template in the tokenizer's config, and a pickle beside the safetensors.
    config["chat_template"] = content.pop("chat_template.jinja").decode()
    content |= {"tokenizer_config.json": json.dumps(config).encode(), "pytorch_model.bin": b"pickle", "README.md": b"#"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Hub,), {"files": content, "asked": []}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    handler: type[Hub] = server.RequestHandlerClass  # type: ignore[assignment]
    handler.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def ask(address: str, name: str, home: Home) -> dict[str, object]:
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home.root / "hf"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", RESOLVE, name, str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_hub_id_becomes_plain_files_once(hub: type[Hub], tiny: Base, home: Home) -> None:
    base = ask(hub.address, "org/tiny", home)  # type: ignore[attr-defined]
    folder = home.bases / "org--tiny"
    want = {"folder": str(folder), "source": f"hub:org/tiny@{COMMIT}", "sha256": tiny.sha256, "window": tiny.window}
    assert base == want
    assert sha256_folder_weights(folder) == tiny.sha256
    assert (folder / "chat_template.jinja").read_text() == (tiny.folder / "chat_template.jinja").read_text()
    assert not any(each.is_symlink() for each in folder.iterdir())
    assert not [path for path in hub.asked if path.endswith((".bin", ".md"))]
    assert not list((home.cache / "hub").glob("models--*"))
    hub.asked.clear()
    assert ask(hub.address, "org/tiny", home) == want  # type: ignore[attr-defined]
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("org/unknown", "NotFoundError", "The hub has no model org/unknown"),
        ("org/tiny@nowhere", "NotFoundError", "org/tiny has no revision nowhere"),
        ("org/gated", "InputError", "accepted its licence"),
        ("org/pickled", "InputError", "as a pickle (pytorch_model.bin)"),
    ],
)
def test_what_the_hub_refuses_is_said_plainly(hub: type[Hub], home: Home, name: str, error: str, sentence: str) -> None:
    answer = ask(hub.address, name, home)  # type: ignore[attr-defined]
    assert answer["error"] == error and sentence in str(answer["what"])
    assert not [each for each in home.bases.iterdir() if each.is_dir()]


def test_without_a_hub_the_reason_is_that(home: Home) -> None:
    answer = ask("http://127.0.0.1:9", "org/tiny", home)
    assert answer == {
        "error": "UnavailableError",
        "what": "org/tiny is not on this machine and the hub cannot be reached.",
    }
