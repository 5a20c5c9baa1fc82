"""The reference engine: transformers and peft at full precision, for whatever llama.cpp cannot run, and for scores.

It answers one request at a time. This module knows neither torch, which its child imports, nor text.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import psutil

from pumice.engine import lora
from pumice.engine.child import Child
from pumice.engine.contract import Capabilities, Delta, Generate, Stats
from pumice.engine.wire import room_for
from pumice.errors import InputError, NotFoundError

CAPABILITIES = Capabilities("transformers", adapters=True, score=True, constraints=frozenset())


async def start(folder: Path, *, threads: int | None = None, cache: Path, context: int | None = None) -> Transformers:
    """Serve the model in `folder`; logs go to `cache`. Float32 on a CPU, bfloat16 on a GPU.

    Prompt and answer together have at most `context` tokens, by default the model's window. Raises UnavailableError
    when the model cannot be loaded.
    """
    orders = {"model": str(folder.resolve()), "threads": threads or psutil.cpu_count(logical=False) or 1}
    child = await Child.start(
        "pumice.engine.hf_child", orders, f"The transformers engine for {folder.name}", cache / "logs"
    )
    return Transformers(child, min(context or math.inf, _window(folder)))


class Transformers:
    """A running transformers process. Made by `start`."""

    capabilities = CAPABILITIES

    def __init__(self, child: Child, context: float) -> None:
        self._child, self._context = child, context
        self._adapters: dict[str, Path] = {}

    @property
    def alive(self) -> bool:
        """Whether requests can be answered."""
        return self._child.alive

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """See the contract. Raises InputError for a prompt that leaves no room in the window, and for constraints."""
        self._check(request.adapter)
        room = room_for(request, self._context, self.capabilities)
        async with aclosing(self._child.complete(request, room, {"adapter": request.adapter})) as deltas:
            async for delta in deltas:
                yield delta

    async def score(self, ids: Sequence[int], adapter: str | None = None) -> list[float]:
        """See the contract."""
        self._check(adapter)
        if not 2 <= len(ids) <= self._context:
            raise InputError(f"{len(ids)} ids cannot be scored; between 2 and {self._context} can.")
        answer = await self._child.post("/score", {"prompt": list(ids), "adapter": adapter})
        return [float(value) for value in answer["logprobs"]]

    async def load_adapter(self, name: str, folder: Path) -> None:
        """See the contract. Any adapter that peft can load will do."""
        lora.read_config(folder)
        if self._adapters.get(name) == folder.resolve():
            return
        await self._child.post("/adapters", {"name": name, "folder": str(folder.resolve())})
        self._adapters[name] = folder.resolve()

    async def unload_adapter(self, name: str) -> None:
        """See the contract."""
        self._check(name)
        del self._adapters[name]
        await self._child.post("/adapters", {"name": name, "folder": None})

    async def stats(self) -> Stats:
        """See the contract."""
        return Stats(self._child.pid, self._child.rss_bytes(), self._child.running, tuple(self._adapters))

    async def stop(self) -> None:
        """See the contract."""
        await self._child.stop()

    def _check(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._adapters:
            raise NotFoundError(f"The adapter {adapter} is not loaded.")


def _window(folder: Path) -> float:
    config = json.loads((folder / "config.json").read_bytes())
    text = config.get("text_config", config)
    found = [text[key] for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len") if text.get(key)]
    return float(found[0]) if found else math.inf
