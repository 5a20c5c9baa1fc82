"""An answer over a socket is read alike however its bytes arrive, and one that breaks off is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pumice.engine.post import Lost, post

LINES = [b"data: {}", b"", b"data: \xe2\x82\xac and more", b"", b"data: last", b""]
BODY = b"\n".join([*LINES, b""])
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunked(parts: Sequence[bytes]) -> bytes:
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (*parts, b""))


@asynccontextmanager
async def server(
    tmp_path: Path, pieces: Sequence[bytes], stay: bool = False
) -> AsyncIterator[tuple[Path, list[bytes]]]:
    """Answers with these pieces, one write each, and closes unless it shall `stay`; what it was asked."""
    asked: list[bytes] = []
    left = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.index(b"Content-Length: ") + 16
        asked.extend([head, await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))])
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if stay:
            await reader.read()
            left.set()
        writer.close()

    socket = tmp_path / "engine.sock"
    async with await asyncio.start_unix_server(answer, socket):
        yield socket, asked
        if stay:
            await asyncio.wait_for(left.wait(), 10)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize(
    "whole",
    [
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked([BODY]),
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked([BODY[at : at + 5] for at in range(0, len(BODY), 5)]),
        OK + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY,
        OK.replace(b"1.1", b"1.0") + b"\r\n" + BODY,
    ],
    ids=["chunked", "many chunks", "of a length", "until the end"],
)
async def test_lines_are_the_same_wherever_bytes_are_cut(tmp_path: Path, whole: bytes, size: int) -> None:
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    async with server(tmp_path, pieces) as (socket, asked), post(socket, "/completion", {"ü": [1]}) as response:
        assert response.status == 200
        assert [line async for line in response.lines()] == LINES
    assert asked[0].startswith(b"POST /completion HTTP/1.1\r\n") and json.loads(asked[1]) == {"ü": [1]}


async def test_a_refusal_has_its_status_and_its_body(tmp_path: Path) -> None:
    told = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nfour"
    async with server(tmp_path, [told]) as (socket, _), post(socket, "/", {}) as response:
        assert (response.status, await response.read()) == (400, b"four")


async def test_lines_that_were_whole_are_given_when_the_connection_breaks(tmp_path: Path) -> None:
    broken = [OK + b"Transfer-Encoding: chunked\r\n\r\n", chunked([b"one\ntwo\nhal"])[:-5]]
    async with server(tmp_path, broken) as (socket, _), post(socket, "/", {}) as response:
        assert [line async for line in response.lines()] == [b"one", b"two"]


@pytest.mark.parametrize(
    "pieces", [[], [b"HTTP/1.1 2"], [OK + b"Content-Length: 9\r\n\r\nhal"], [b"no HTTP at all\r\n"]]
)
async def test_what_breaks_off_is_lost(tmp_path: Path, pieces: list[bytes]) -> None:
    async with server(tmp_path, pieces) as (socket, _):
        with pytest.raises(Lost):
            async with post(socket, "/", {}) as response:
                await response.read()


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Lost):
        async with post(tmp_path / "engine.sock", "/", {}):
            pass


async def test_leaving_early_closes_the_connection(tmp_path: Path) -> None:
    begun = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked([BODY])[:-5]
    async with server(tmp_path, [begun], stay=True) as (socket, _), post(socket, "/", {}) as response:
        assert await anext(response.lines()) == LINES[0]
