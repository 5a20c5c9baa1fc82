"""The default engine: llama.cpp on weights converted to GGUF, any number of LoRA adapters over one base.

llama.cpp cannot load adapters at run time: a second child starts with the longer list, new requests go to it, and the
first ends when its last answer is out. This module knows no text.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import psutil

from pumice.engine import constraints, gguf, vocabulary
from pumice.engine.adapter import CONFIG, read_config
from pumice.engine.child import BEHIND, Child
from pumice.engine.contract import CONTEXT, Capabilities, Delta, Generate, Stats, TokenLogprob
from pumice.engine.wire import room_for
from pumice.errors import InputError, NotFoundError, UnavailableError

CAPABILITIES = Capabilities("llama.cpp", adapters=True, score=False, constraints=frozenset({"json_schema", "lark"}))

_FORMAT = 3
"""Raised whenever the converted files change, so that cached ones are made again."""


async def start(
    folder: Path,
    *,
    threads: int | None = None,
    cache: Path,
    quant: gguf.Quant = "q8_0",
    context: int | None = None,
    slots: int = 4,
    nice: int = BEHIND,
) -> LlamaCpp:
    """Serve the model in `folder`, `slots` answers at once, each of at most `context` tokens with its prompt.

    Converted weights are kept in `cache`. With `f32` the arithmetic is exact too, for comparisons. Raises InputError
    when `gguf.can_convert` names a reason, UnavailableError when llama.cpp cannot start (too little memory, mostly).
    """
    engine = LlamaCpp(folder, cache, quant, slots, min(context or CONTEXT, gguf.window(folder)), threads, nice)
    await engine.open()
    return engine


class LlamaCpp:
    """A running llama.cpp. Made by `start`."""

    capabilities = CAPABILITIES

    def __init__(
        self, folder: Path, cache: Path, quant: gguf.Quant, slots: int, context: int, threads: int | None, nice: int
    ) -> None:
        self.context = context
        """Tokens that a prompt and its answer may have together."""
        self._folder, self._cache, self._quant, self._slots = folder, cache, quant, slots
        self._threads = threads or psutil.cpu_count(logical=False) or 1
        self._nice = nice
        self._wanted: dict[str, Path] = {}
        self._served: dict[str, Path] = {}
        self._child: Child | None = None
        self._changing = asyncio.Lock()
        self._retiring: dict[Child, asyncio.Event] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Start the process, without adapters."""
        self._child = await self._start({})

    @property
    def alive(self) -> bool:
        """Whether requests can be answered."""
        return self._child is not None and self._child.alive

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """See the contract. Raises InputError for a prompt that leaves no room in the context."""
        child, served = self._child, self._served
        if child is None:
            raise UnavailableError(f"{self._title} was stopped.")
        if request.adapter is not None and not (request.adapter in self._wanted and request.adapter in served):
            raise NotFoundError(f"The adapter {request.adapter} is not loaded.")
        room = room_for(request, self.context, self.capabilities)
        if request.constraint is not None and constraints.beyond_ascii(request.constraint):
            whole = await asyncio.to_thread(lambda: self._whole_characters)
            request = replace(request, constraint=constraints.spelled(request.constraint, whole))
        # Always the whole list: what is left out would keep the scale of whoever came before.
        scales = [{"id": at, "scale": float(name == request.adapter)} for at, name in enumerate(served)]
        try:
            async with aclosing(child.complete(request, room, {"lora": scales})) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if child in self._retiring and not child.running:
                self._retiring[child].set()

    async def score(self, ids: Sequence[int], adapter: str | None = None, top: int = 0) -> list[TokenLogprob]:
        """Always raises: llama.cpp's server has no prompt likelihoods (`capabilities.score` is False)."""
        raise InputError("llama.cpp cannot score given text.", "", "Use the engine that Pool.scorer gives.")

    async def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """Always raises: this child is set up for answers (`capabilities.embed` is False)."""
        raise InputError("llama.cpp makes no vectors here.", "", "Use the engine that Pool.embedder gives.")

    async def classify(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """Always raises: no classifier runs here (`capabilities.classify` is False)."""
        raise InputError("llama.cpp runs no classifiers here.", "", "Name a classifier: it runs on transformers.")

    async def load_adapter(self, name: str, folder: Path) -> None:
        """See the contract. Raises InputError for an adapter that is not plain LoRA or not of this base."""
        path = await asyncio.to_thread(self._converted_adapter, folder)
        before = self._wanted.get(name)
        self._wanted[name] = path
        async with self._changing:
            if self._served.get(name) == path and self.alive:
                return
            try:
                # Everything that is waiting, so that ten adapters cost one start.
                await self._change(dict(self._wanted))
            except BaseException:
                self._wanted.pop(name, None)
                if before is not None:
                    self._wanted[name] = before
                raise

    async def unload_adapter(self, name: str) -> None:
        """See the contract. Its memory is freed when the next adapter is loaded."""
        if self._wanted.pop(name, None) is None:
            raise NotFoundError(f"The adapter {name} is not loaded.")

    async def stats(self) -> Stats:
        """See the contract; children that are about to end count as well."""
        if self._child is None:
            raise UnavailableError(f"{self._title} was stopped.")
        children = [self._child, *(child for child in self._retiring if child.alive)]
        return Stats(
            self._child.pid,
            sum(child.rss_bytes() for child in children),
            sum(child.running for child in children),
            tuple(name for name in self._served if name in self._wanted),
        )

    async def stop(self) -> None:
        """See the contract."""
        async with self._changing:
            child, self._child = self._child, None
            leaving = [one for one in (child, *self._retiring) if one]
            await asyncio.gather(*(one.stop() for one in leaving))
            for left in self._retiring.values():
                left.set()
            await asyncio.gather(*self._farewells)

    @cached_property
    def _whole_characters(self) -> frozenset[str]:
        return vocabulary.whole_characters(self._folder)

    @property
    def _title(self) -> str:
        return f"The llama.cpp engine for {self._folder.name}"

    async def _start(self, adapters: dict[str, Path]) -> Child:
        model = await asyncio.to_thread(self._converted_model)
        orders = {
            "model": str(model),
            "adapters": [str(path) for path in adapters.values()],
            "context": self.context,
            "slots": self._slots,
            "threads": self._threads,
            "exact": self._quant == "f32",
        }
        return await Child.start("pumice.engine.llamacpp_child", orders, self._title, self._cache / "logs", self._nice)

    async def _change(self, adapters: dict[str, Path]) -> None:
        if self._child is None:
            raise UnavailableError(f"{self._title} was stopped.")
        fresh = await self._start(adapters)
        # From here to the end there is no await: a request sees the old pair or the new one.
        old, self._child, self._served = self._child, fresh, adapters
        left = self._retiring[old] = asyncio.Event()
        if not old.running:
            left.set()
        farewell = asyncio.create_task(self._retire(old, left))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def _retire(self, child: Child, left: asyncio.Event) -> None:
        await left.wait()
        await child.stop()
        del self._retiring[child]

    def _converted_model(self) -> Path:
        out = self._cache / "gguf" / f"{_fingerprint(self._folder)}-{self._quant}.gguf"
        if not out.is_file():
            gguf.write_model(self._folder, out, self._quant, streamable=True)
        return out

    def _converted_adapter(self, adapter: Path) -> Path:
        read_config(adapter)
        out = self._cache / "gguf" / f"{_fingerprint(self._folder)}-{_fingerprint(adapter)}-lora.gguf"
        if not out.is_file():
            gguf.write_adapter(adapter, self._folder, out)
        return out


def _fingerprint(folder: Path) -> str:
    """Changes with every file that a conversion reads; the weights are known by place, size and time, not read."""
    digest = hashlib.sha256(f"{_FORMAT} {folder.resolve()}".encode())
    for file in sorted(folder.iterdir()):
        if file.suffix == ".safetensors":
            status = file.stat()
            digest.update(json.dumps([file.name, status.st_size, status.st_mtime_ns, status.st_ino]).encode())
        elif file.name in _READ:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:24]


_READ = ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", CONFIG)
