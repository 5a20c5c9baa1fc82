"""The default engine: llama.cpp on weights converted to GGUF, any number of LoRA adapters over one base.

llama.cpp cannot load adapters at run time: between two turns a second child starts with the longer list, and the first
ends. This module knows no text.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from pumice.engine import constraints, gguf, reserve, vocabulary
from pumice.engine.adapter import CONFIG, read_config
from pumice.engine.child import BEHIND, Child
from pumice.engine.contract import CONTEXT, Capabilities, Delta, Generate, Setup, Stats, TokenLogprob
from pumice.engine.keeper import Keeper
from pumice.engine.merged import Merged, Source
from pumice.engine.turns import Turns
from pumice.engine.wire import room_for
from pumice.errors import InputError, NotFoundError, UnavailableError

CAPABILITIES = Capabilities("llama.cpp", score=False, constraints=frozenset({"json_schema", "lark"}))

_SHARE = 8
"""One part in so many of the machine's memory is given to adapters that wait loaded."""

_FORMAT = 3
"""Raised whenever the converted files change, so that cached ones are made again."""


async def start(
    folder: Path,
    *,
    threads: int | None = None,
    cache: Path,
    quant: gguf.Quant = "q8_0",
    context: int | None = None,
    slots: int | None = None,
    nice: int = BEHIND,
    idle: float | None = None,
    favour: bool = False,
) -> LlamaCpp:
    """Serve the model in `folder`, `slots` answers at once, each of at most `context` tokens with its prompt.

    By default 8, or fewer where memory is short. Converted weights are kept in `cache`. With `f32` the arithmetic is
    exact too, for comparisons. With `favour` the adapter that is asked for most becomes a model of its own. Raises
    InputError when `gguf.can_convert` names a reason, UnavailableError when llama.cpp cannot start (too little memory,
    mostly).
    """
    slots = slots or reserve.on_demand(folder, quant)
    context = min(context or CONTEXT, gguf.window(folder))
    engine = LlamaCpp(folder, cache, quant, slots, context, threads, nice, idle, favour)
    await engine._keeper.open()
    return engine


class LlamaCpp:
    """llama.cpp for one model. Made by `start`."""

    capabilities = CAPABILITIES

    def __init__(
        self,
        folder: Path,
        cache: Path,
        quant: gguf.Quant,
        slots: int,
        context: int,
        threads: int | None,
        nice: int,
        idle: float | None,
        favour: bool,
    ) -> None:
        self.context = context
        """Tokens that a prompt and its answer may have together."""
        self._folder, self._cache, self._quant, self._slots = folder, cache, quant, slots
        self._threads = threads or psutil.cpu_count(logical=False) or 1
        self._nice = nice
        self._turns = Turns(slots)
        self._keeper = Keeper(self._title, self._start, idle)
        self._merged = Merged(self._turns, self._source, self._start_merged, self._has_room, idle) if favour else None
        self._adapters: dict[str, Path] = {}
        """The converted file of each name."""
        self._folders: dict[Path, Path] = {}
        """What each was converted from."""
        self._asked: dict[Path, None] = {}
        """The files that answered, the last one last."""
        self._chosen: tuple[Path, ...] = ()
        """What the next process loads."""
        self._served: tuple[Path, ...] = ()
        """What the process has loaded, in its order."""
        self._broken: set[Path] = set()
        """What no process started with."""
        self._changing = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """Whether a process runs; the next request starts one."""
        return bool(self._children)

    @property
    def merged(self) -> bool:
        """Whether the favourite has a process of its own now."""
        return self._merged is not None and self._merged.child is not None

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """See the contract. Raises InputError for a prompt that leaves no room in the context."""
        room = room_for(request, self.context, self.capabilities)
        adapter = None if request.adapter is None else self._file_of(request.adapter)
        if request.constraint is not None and constraints.beyond_ascii(request.constraint):
            whole = await asyncio.to_thread(lambda: self._whole_characters)
            request = replace(request, constraint=constraints.spelled(request.constraint, whole))
        if self._merged:
            self._merged.count(adapter)
        async with (
            self._turns.seat(adapter),
            self._at(adapter) as (child, extra),
            aclosing(child.complete(request, room, extra)) as deltas,
        ):
            async for delta in deltas:
                yield delta

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
        self._folders[path] = folder
        self._adapters.pop(name, None)
        self._adapters[name] = path

    async def unload_adapter(self, name: str) -> None:
        """See the contract. Its memory is freed when the next adapter is loaded."""
        self._file_of(name)
        del self._adapters[name]

    async def stats(self) -> Stats:
        """See the contract. Raises UnavailableError while no process runs."""
        children = self._children
        if not children:
            raise UnavailableError(f"{self._title} does not run.")
        size, running = sum(each.rss_bytes() for each in children), sum(each.running for each in children)
        return Stats(children[0].pid, size, running, tuple(self._adapters))

    async def stop(self) -> None:
        """See the contract."""
        if self._merged:
            await self._merged.stop()
        await self._keeper.stop()

    @property
    def _children(self) -> list[Child]:
        """The processes that run."""
        both = (self._keeper.child, self._merged.child if self._merged else None)
        return [each for each in both if each and each.alive]

    @cached_property
    def _whole_characters(self) -> frozenset[str]:
        return vocabulary.whole_characters(self._folder)

    @property
    def _title(self) -> str:
        return f"The llama.cpp engine for {self._folder.name}"

    def _file_of(self, name: str) -> Path:
        if name not in self._adapters:
            raise NotFoundError(f"The adapter {name} is not loaded.")
        return self._adapters[name]

    @asynccontextmanager
    async def _at(self, adapter: Path | None) -> AsyncIterator[tuple[Child, Mapping[str, Any]]]:
        """The process that answers with the adapter whose turn it is, and what it must be told beside the request."""
        merged = self._merged.keeper(adapter) if self._merged else None
        async with (merged or self._keeper).use() as child:
            if merged:
                yield child, {}
                return
            if adapter is not None:
                child = await self._with(adapter)
            # Always the whole list: what is left out would keep the scale of whoever came before.
            yield child, {"lora": [{"id": at, "scale": float(each == adapter)} for at, each in enumerate(self._served)]}

    async def _with(self, adapter: Path) -> Child:
        """The child, with the adapter loaded. It is this adapter's turn, so no answer of another is under way."""
        async with self._changing:
            self._asked.pop(adapter, None)
            self._asked[adapter] = None
            if adapter not in self._served:
                try:
                    await self._renew(self._fitting(adapter))
                except UnavailableError:
                    # One of the others may be what it cannot load.
                    self._broken.add(adapter)
                    await self._renew((adapter,))
                self._broken.discard(adapter)
        assert self._keeper.child is not None
        return self._keeper.child

    async def _renew(self, adapters: tuple[Path, ...]) -> None:
        before, self._chosen = self._chosen, adapters
        try:
            await self._keeper.renew()
        except BaseException:
            self._chosen = before
            raise

    def _fitting(self, adapter: Path) -> tuple[Path, ...]:
        """The adapter, and of the others as many as have room: first those that were asked for last."""
        known = dict.fromkeys([adapter, *reversed(self._asked), *self._adapters.values()])
        left, chosen = psutil.virtual_memory().total // _SHARE, list[Path]()
        for path in known:
            left -= path.stat().st_size
            if path == adapter or (left >= 0 and path in self._adapters.values() and path not in self._broken):
                chosen.append(path)
        return tuple(chosen)

    async def _start(self) -> Child:
        model, adapters = await asyncio.to_thread(self._converted_model), self._chosen
        child = await self._run(model, adapters)
        self._served = adapters
        return child

    async def _start_merged(self, model: Path) -> Child:
        return await self._run(model, ())

    async def _run(self, model: Path, adapters: Sequence[Path]) -> Child:
        orders = {
            "model": str(model),
            "adapters": [str(path) for path in adapters],
            "context": self.context,
            "slots": self._slots,
            "threads": self._threads,
            "exact": self._quant == "f32",
        }
        return await Child.start("pumice.engine.llamacpp_child", orders, self._title, self._cache / "logs", self._nice)

    def _source(self, adapter: Path) -> Source:
        return Source(self._folder, self._folders[adapter], self._quant)

    def _has_room(self) -> bool:
        """Whether memory has room for a second process."""
        return reserve.converted(self._folder, self._slots, Setup(self._cache, quant=self._quant)) <= reserve.room()

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
