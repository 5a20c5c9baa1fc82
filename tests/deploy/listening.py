"""A double's port on loopback: every POST goes to `answer`, in a thread of its own. Iterators go out as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Listening:
    """Listens once `listen` was called, until `close`."""

    def listen(self) -> None:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, headers, answer = double.answer(self.path, dict(self.headers.items()), body)
                whole = isinstance(answer, bytes)
                length = {"content-length": str(len(answer))} if whole else {"transfer-encoding": "chunked"}
                self.send_response(status)
                for key, value in {**headers, **length}.items():
                    self.send_header(key, value)
                self.end_headers()
                if whole:
                    self.wfile.write(answer)
                    return
                for piece in answer:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        raise NotImplementedError
