"""`make soak`: many streams at once, for minutes, on an engine that answers slowly: no error, and no growth of memory.

    python -m benchmarks.soak [--streams 200] [--minutes 5]

Memory is that of the server process; it may grow in the first minute, by 5 % after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.front import ASK, healthy
from pumice.bases import resolve
from pumice.config import Home

PORT = 8913
PAUSE = 0.05
"""Seconds between two tokens of an answer."""
WARM = 60.0
GROWTH = 1.05


@dataclass
class Count:
    """What came back."""

    answers: int = 0
    errors: list[str] = field(default_factory=list)


async def stream(request: bytes, count: Count, end: float) -> None:
    """One caller: an answer after another, each read to its `[DONE]`."""
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(request)
        told = await reader.read()
        writer.close()
        if told.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in told:
            count.answers += 1
        else:
            count.errors.append(told[:200].decode(errors="replace"))


async def load(model: str, streams: int, minutes: float, server: psutil.Process) -> tuple[Count, list[int]]:
    """Keep `streams` answers under way; what came back, and the server's memory every five seconds."""
    body = json.dumps({"model": model, "stream": True, "max_tokens": 16, **ASK}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nConnection: close\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    count, memory = Count(), [server.memory_info().rss]
    start = time.monotonic()
    callers = [asyncio.create_task(stream(request, count, start + minutes * 60)) for _ in range(streams)]
    while not all(each.done() for each in callers):
        await asyncio.sleep(5)
        memory.append(server.memory_info().rss)
        if len(memory) % 12 == 0:
            print(
                f"{time.monotonic() - start:5.0f} s  {count.answers:7} answers  {memory[-1] / 1e6:6.0f} MB", flush=True
            )
    await asyncio.gather(*callers)
    return count, memory


def main(streams: int, minutes: float) -> int:
    """0 when it held."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        base = resolve.resolve(resolve.DEFAULT, home)
        command = [
            sys.executable,
            "-m",
            "benchmarks.echo",
            "--home",
            folder,
            "--port",
            str(PORT),
            "--pause",
            str(PAUSE),
        ]
        process = subprocess.Popen(command)
        try:
            while not healthy(f"http://127.0.0.1:{PORT}/healthz"):
                time.sleep(0.2)
            count, memory = asyncio.run(load(base.name, streams, minutes, psutil.Process(process.pid)))
        finally:
            process.terminate()
            process.wait(30)
    warm = memory[: int(WARM / 5)]
    later = memory[int(WARM / 5) :] or warm
    growth = max(later) / max(warm)
    megabytes = max(warm) / 1e6
    print(f"{count.answers} answers, {len(count.errors)} errors, {megabytes:.0f} MB at first, later {growth:.2f} times")
    for each in count.errors[:3]:
        print(each)
    return int(bool(count.errors) or growth > GROWTH)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=5)
    given = parser.parse_args()
    sys.exit(main(given.streams, given.minutes))
