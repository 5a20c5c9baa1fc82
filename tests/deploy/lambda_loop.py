"""A minimal Lambda Runtime API: AWS's own client asks it for events and answers, as in a real function."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECONDS = 28


class Loop:
    """One function, one event at a time."""

    def __init__(self, python: Path, code: Path, handler: str, environment: dict[str, str]) -> None:
        self.events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: queue.Queue[tuple[str, bytes]] = queue.Queue()
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
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.headers.get("transfer-encoding") == "chunked":
                    while size := int(self.rfile.readline().strip() or b"0", 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                loop.answers.put((self.path.rpartition("/")[2], body))
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
        command = [python, "-m", "awslambdaric", handler]
        self.process = subprocess.Popen(
            command, env={**os.environ, **environment, **told}, cwd=code, stdout=subprocess.PIPE, text=True
        )

    def call(self, event: dict[str, Any]) -> dict[str, Any]:
        """What the function answers; raises what it raised."""
        self.events.put((str(uuid.uuid4()), json.dumps(event).encode()))
        kind, body = self.answers.get(timeout=8)
        assert kind == "response", body
        answer: dict[str, Any] = json.loads(body)
        return answer

    def end(self) -> str:
        """End it; what it printed."""
        self.process.terminate()
        printed = self.process.communicate(timeout=20)[0]
        self.server.shutdown()
        self.server.server_close()
        return printed
