"""A minimal Lambda Runtime API: the function asks it for events and answers, whole or piece by piece, as on AWS; and
API Gateway's side of a streamed answer."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from listening import Listening

SECONDS = 28
PRELUDE = "application/vnd.awslambda.http-integration-response"


def unpack(packed: zipfile.ZipFile, folder: Path) -> None:
    """With the modes that are in the zip, as Lambda does it."""
    for entry in packed.infolist():
        Path(packed.extract(entry, folder)).chmod(entry.external_attr >> 16)


@dataclass
class Answer:
    """What a function said to one event."""

    kind: str
    """`response` or `error`."""
    headers: dict[str, str]
    pieces: queue.Queue[bytes | None] = field(default_factory=queue.Queue)
    """None after the last."""
    trailers: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self.pieces.get(timeout=30)) is not None:
            yield piece

    def head(self) -> tuple[dict[str, Any], Iterator[bytes]]:
        """Status and headers, and the body behind them."""
        pieces, read = iter(self), b""
        while b"\0" * 8 not in read:
            read += next(pieces)
        told, _, first = read.partition(b"\0" * 8)

        def body() -> Iterator[bytes]:
            if first:
                yield first
            yield from pieces

        return json.loads(told), body()


class Loop:
    """One function, one event at a time; started by `wrapper`, where it has one."""

    def __init__(
        self, python: Path, code: Path, handler: str, environment: dict[str, str], wrapper: str | None = None
    ) -> None:
        self.events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: queue.Queue[Answer] = queue.Queue()
        loop = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for key, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                id_, body = loop.events.get()
                deadline = str(int((time.time() + SECONDS) * 1000))
                arn = "arn:aws:lambda:us-east-1:000000000000:function:test"
                headers = {"Lambda-Runtime-Aws-Request-Id": id_, "Lambda-Runtime-Deadline-Ms": deadline}
                self.reply(
                    200,
                    body,
                    {**headers, "Lambda-Runtime-Invoked-Function-Arn": arn, "content-type": "application/json"},
                )

            def do_POST(self) -> None:
                answer = Answer(
                    self.path.rpartition("/")[2], {key.lower(): value for key, value in self.headers.items()}
                )
                loop.answers.put(answer)
                if answer.headers.get("transfer-encoding") == "chunked":
                    while size := int(self.rfile.readline().strip() or b"0", 16):
                        answer.pieces.put(self.rfile.read(size))
                        self.rfile.readline()
                    while line := self.rfile.readline().strip().decode():
                        key, _, value = line.partition(":")
                        answer.trailers[key.lower()] = value.strip()
                else:
                    answer.pieces.put(self.rfile.read(int(self.headers.get("content-length") or 0)))
                answer.pieces.put(None)
                self.reply(202, b"{}", {})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        told = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.server_address[1]}",
            "LAMBDA_TASK_ROOT": str(code),
            "PYTHONPATH": str(code),
            "AWS_LAMBDA_FUNCTION_NAME": "test",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "_HANDLER": handler,
        }
        command = [str(python), "-m", "awslambdaric", handler]
        if wrapper:
            command.insert(0, str(code / Path(wrapper).name))
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment, **told}, cwd=code, stdout=subprocess.PIPE, text=True
        )

    def answer(self, event: dict[str, Any]) -> Answer:
        """What the function says, as soon as it begins to."""
        self.events.put((str(uuid.uuid4()), json.dumps(event).encode()))
        return self.answers.get(timeout=8)

    def call(self, event: dict[str, Any]) -> dict[str, Any]:
        """The whole answer of a function; raises what it raised."""
        answer = self.answer(event)
        if answer.headers.get("content-type") != PRELUDE:
            whole = b"".join(answer)
            assert answer.kind == "response", whole
            found: dict[str, Any] = json.loads(whole)
            return found
        head, body = answer.head()
        return {**head, "body": b"".join(body).decode()}

    def end(self) -> str:
        """End it; what it printed."""
        self.process.terminate()
        printed = self.process.communicate(timeout=20)[0]
        self.server.shutdown()
        self.server.server_close()
        return printed


class Gateway(Listening):
    """A REST API in front of one function, whose integration is of the kind STREAM."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.listen()

    def answer(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        answer = self.loop.answer({"path": path, "headers": headers, "body": body.decode()})
        assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert answer.headers["content-type"] == PRELUDE
        head, pieces = answer.head()
        return head["statusCode"], head["headers"], pieces
