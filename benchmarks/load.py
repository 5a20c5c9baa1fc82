"""Load on an HTTP server: the same POST again and again over kept connections, each answer read to its end.

    python -m benchmarks.load URL BODY_FILE --connections 16 --seconds 10 [--header "Name: value"]

Prints JSON: requests, errors, requests a second, and latencies in milliseconds. A bare client, so that it takes as
little as possible of the core that the server does not use.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """One request; the status of its answer, of which every byte has arrived."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status, lowered = int(head[9:12]), head.lower()
    if b"transfer-encoding: chunked" in lowered:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        at = lowered.index(b"content-length:") + 15
        await reader.readexactly(int(lowered[at : lowered.index(b"\r\n", at)]))
    return status


async def load(url: str, body: bytes, connections: int, seconds: float, headers: Sequence[str] = ()) -> dict[str, Any]:
    """Keep `connections` requests under way for `seconds`; what came of them."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {host}:{port}", "Content-Type: application/json", *headers]
    request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    taken: list[float] = []
    errors = 0
    end = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, port)
        while (start := time.perf_counter()) < end:
            status = await post(reader, writer, request)
            taken.append(time.perf_counter() - start)
            errors += status != 200
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    spent = time.perf_counter() - start
    cut = statistics.quantiles(taken, n=100)
    return {
        "requests": len(taken),
        "errors": errors,
        "rate": len(taken) / spent,
        "p50": statistics.median(taken) * 1e3,
        "p99": cut[98] * 1e3,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--header", action="append", default=[])
    given = parser.parse_args()
    found = asyncio.run(load(given.url, given.body.read_bytes(), given.connections, given.seconds, given.header))
    print(json.dumps(found))
