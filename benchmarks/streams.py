"""Answers as they come: a POST to a server of OpenAI's completions, its events timed by a client that costs little."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.training import WORDS
from pumice.data.render import Renderer


@dataclass(frozen=True)
class Told:
    """One answer."""

    began: float
    first: float
    """When its first piece was there."""
    ended: float
    tokens: int

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (self.tokens - 1) / (self.ended - self.first)


@dataclass(frozen=True)
class Server:
    """One that streams `/v1/completions`."""

    name: str
    port: int
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    renderer: Renderer | None = None
    """Where it takes no ids: what turns them into text."""

    def stream(self, prompts: Sequence[Sequence[int]], tokens: int, model: str = "") -> list[Told]:
        """One answer to each, all at once, greedily; `model` is another than its own."""

        async def together() -> list[Told]:
            return await asyncio.gather(*(self._one(ids, tokens, model or self.model) for ids in prompts))

        return asyncio.run(together())

    async def _one(self, ids: Sequence[int], tokens: int, model: str) -> Told:
        body = json.dumps(
            {
                "model": model,
                "prompt": self.renderer.decode(ids) if self.renderer else list(ids),
                "max_tokens": tokens,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        lines = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json", "Connection": "close"}
        lines |= {"Content-Length": str(len(body)), **self.headers}
        head = "POST /v1/completions HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head.encode() + b"\r\n" + body)
        parts, first = [], 0.0
        while part := await reader.read(2**16):
            parts.append(part)
            if not first and b"data: " in part:
                first = time.perf_counter()
        ended = time.perf_counter()
        writer.close()
        return Told(began, first, ended, _tokens(self.name, b"".join(parts)))


def _tokens(name: str, told: bytes) -> int:
    """How many tokens an answer says that it has. Raises `SystemExit` for one that failed."""
    events: list[dict[str, Any]] = []
    for line in told.splitlines():
        if line.startswith(b"data: {"):
            events.append(json.loads(line[6:]))
    counts = [event["usage"]["completion_tokens"] for event in events if event.get("usage")]
    if not counts:
        raise SystemExit(f"{name} answered: {told[-500:].decode(errors='replace')}")
    return int(counts[-1])


def prompt(renderer: Renderer, tokens: int, seed: str) -> list[int]:
    """So many ids of random words, others for each seed."""
    return renderer.encode(" ".join(random.Random(seed).choices(WORDS, k=tokens)))[:tokens]
