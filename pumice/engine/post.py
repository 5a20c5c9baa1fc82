"""One question to a process behind a Unix socket: JSON is posted, and its answer read as it comes. Knows no engine.

A general client costs several percent of decoding on two cores, as every token is a line: here a line costs a split.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httptools

_CONNECT = 10.0
"""Seconds for a connection. An answer has none: a long prompt may take minutes before its first token."""
_READ = 2**16


class Lost(Exception):
    """Nobody listens, or the connection ended before the answer did."""


class Response:
    """An answer under way. httptools calls the three methods that begin with `on`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.status = 0
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        """What has arrived and was not read."""
        self._whole = False

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._whole = True

    async def head(self) -> None:
        """Wait for the status. Raises `Lost` when none comes."""
        while not self.status:
            if not await self._more():
                raise Lost("The connection ended before an answer.")

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines of the body as they become whole, without their ends. A connection that ends, ends them."""
        rest = b""
        while True:
            *lines, rest = (rest + self._body).split(b"\n")
            self._body = b""
            for line in lines:
                yield line
            if self._whole or not await self._more():
                return

    async def read(self) -> bytes:
        """The whole body. Raises `Lost` when it does not come to its end."""
        while not self._whole:
            if not await self._more():
                raise Lost("The connection ended in the middle of an answer.")
        return self._body

    async def _more(self) -> bool:
        """Take in what has arrived; False at the end of the connection."""
        data = await self._reader.read(_READ)
        if data:
            self._parser.feed_data(data)
        return bool(data)


@asynccontextmanager
async def post(socket: Path, path: str, body: Mapping[str, Any]) -> AsyncIterator[Response]:
    """Ask, and have the answer once its status is known; leaving the block closes the connection, which cancels.

    No connection is kept: llama-server drops idle ones, and a request sent at that moment would be lost. Raises `Lost`.
    """
    asked = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {len(asked)}\r\n"
    try:
        async with asyncio.timeout(_CONNECT):
            reader, writer = await asyncio.open_unix_connection(socket)
    except OSError as error:
        raise Lost(str(error)) from error
    try:
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + asked)
        response = Response(reader)
        await response.head()
        yield response
    except (OSError, httptools.HttpParserError) as error:
        raise Lost(str(error)) from error
    finally:
        # Not `close`, which would first deliver what is still to be sent.
        writer.transport.abort()
