"""The body of an upload as it was meant: unwrapped from `aws-chunked`, and checked against what the headers promise.

Source: "Signature calculations: transferring payload in multiple chunks" of the S3 API reference. Knows no key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from nanio.errors import BadDigest, InvalidRequest, SignatureDoesNotMatch
from starlette.datastructures import Headers
from starlette.types import Message, Receive

MOST_LINE = 16_384
MOST_CHUNK = 64 * 1024 * 1024
"""Bytes of one chunk; clients send 64 KiB to 1 MiB."""
_NOTHING = hashlib.sha256(b"").hexdigest()


@dataclass
class ChunkSigner:
    """Checks the signature of each chunk, which covers the one before."""

    key: bytes
    """Derived from the secret, the date, the region and the service."""
    date: str
    scope: str
    last: str
    """The signature before: at first the request's own."""

    def check(self, chunk: bytes, signature: str) -> None:
        """Raises `SignatureDoesNotMatch`."""
        parts = ("AWS4-HMAC-SHA256-PAYLOAD", self.date, self.scope, self.last, _NOTHING)
        text = "\n".join((*parts, hashlib.sha256(chunk).hexdigest()))
        if not hmac.compare_digest(hmac.new(self.key, text.encode(), "sha256").hexdigest(), signature):
            raise SignatureDoesNotMatch("The signature of a chunk does not match its bytes.")
        self.last = signature


class Checksum(Protocol):
    """What hashlib's objects do."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc32:
    """zlib's crc32 with the interface of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


CHECKSUMS: dict[str, Callable[[], Checksum]] = {
    "x-amz-checksum-crc32": Crc32,
    "x-amz-checksum-sha1": hashlib.sha1,
    "x-amz-checksum-sha256": hashlib.sha256,
}
"""Those of S3's checksums that Python has; the others are not looked at."""


def checked(receive: Receive, headers: Headers, signer: ChunkSigner | None) -> Receive:
    """`receive` for the plain body. It raises an `S3Error` before the last message when a promise is not kept."""
    content = _content(receive)
    payload = headers.get("x-amz-content-sha256", "")
    trailers: dict[str, str] = {}
    if payload.startswith("STREAMING-"):
        content = _unchunk(content, signer if "UNSIGNED" not in payload else None, trailers)
    messages = _messages(content, headers, trailers)

    async def receiving() -> Message:
        # Behind the body comes only the news that the client hung up.
        return await anext(messages, None) or await receive()

    return receiving


async def _messages(
    content: AsyncIterator[bytes], headers: Headers, trailers: dict[str, str]
) -> AsyncIterator[Message]:
    named = headers.get("x-amz-trailer", "").lower()
    sums = {name: make() for name, make in CHECKSUMS.items() if name in headers or name in named}
    payload = headers.get("x-amz-content-sha256", "")
    whole = hashlib.sha256() if len(payload) == len(_NOTHING) else None
    size = 0
    async for part in content:
        size += len(part)
        if whole:
            whole.update(part)
        for each in sums.values():
            each.update(part)
        yield {"type": "http.request", "body": part, "more_body": True}
    declared = headers.get("x-amz-decoded-content-length")
    if declared is not None and declared != str(size):
        raise InvalidRequest(f"The body has {size} bytes, and x-amz-decoded-content-length says {declared}.")
    if whole and whole.hexdigest() != payload:
        raise BadDigest("The body does not match x-amz-content-sha256, which was signed.")
    for name, each in sums.items():
        wanted = trailers.get(name, headers.get(name))
        if wanted is not None and base64.b64encode(each.digest()).decode() != wanted:
            raise BadDigest(f"The body does not match {name}.")
    yield {"type": "http.request", "body": b"", "more_body": False}


async def _content(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidRequest("The client hung up before the end of the body.")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


class _Reader:
    """Lines and counted bytes out of parts of any size."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts, self._held = parts, bytearray()

    async def line(self) -> bytes:
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > MOST_LINE or not await self._more():
                raise InvalidRequest("The aws-chunked body is broken: a line has no end.")
        return self._take(end + 2)[:-2]

    async def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            if not await self._more():
                raise InvalidRequest("The aws-chunked body ends inside a chunk.")
        return self._take(size)

    async def _more(self) -> bool:
        part = await anext(self._parts, b"")
        self._held += part
        return bool(part)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


async def _unchunk(
    parts: AsyncIterator[bytes], signer: ChunkSigner | None, trailers: dict[str, str]
) -> AsyncIterator[bytes]:
    """The chunks' bytes; what stands behind the last chunk goes into `trailers`."""
    reader = _Reader(parts)
    while True:
        size_text, _, extension = (await reader.line()).decode("latin-1").partition(";")
        try:
            size = int(size_text, 16)
        except ValueError as error:
            raise InvalidRequest("The aws-chunked body is broken: a chunk has no size.") from error
        if not 0 <= size <= MOST_CHUNK:
            raise InvalidRequest(f"A chunk may have {MOST_CHUNK:,} bytes; this one says {size:,}.")
        chunk = await reader.exactly(size)
        if signer:
            signer.check(chunk, extension.removeprefix("chunk-signature="))
        if size == 0:
            break
        yield chunk
        await reader.line()
    while text := (await reader.line()).decode("latin-1"):
        name, _, value = text.partition(":")
        trailers[name.strip().lower()] = value.strip()
