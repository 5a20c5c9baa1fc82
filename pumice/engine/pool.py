"""Which engine runs what: one engine a model and purpose, made when it is first needed.

This module knows neither names of models nor users; it is asked for folders.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pumice.engine import gguf, hf, llamacpp, lora
from pumice.engine.contract import Engine, Stats
from pumice.engine.hf import Transformers
from pumice.engine.llamacpp import LlamaCpp
from pumice.engine.reserve import Reservation, Reservations, room
from pumice.errors import InputError, NotFoundError, UnavailableError

_Running = LlamaCpp | Transformers
_DEFAULT, _REFERENCE = llamacpp.CAPABILITIES.name, hf.CAPABILITIES.name


@dataclass
class _Place:
    """Where the engine of one folder and kind stands; the lock lets one caller start it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    engine: _Running | None = None


class Pool:
    """The engines of one process, for one event loop: `async with Pool(…) as pool`, or end it with `stop`."""

    def __init__(self, cache: Path, threads: int | None = None, idle: float | None = None) -> None:
        """`cache` holds converted weights and logs; `threads` are for each engine, by default one a physical core.

        The process of an engine ends when nobody asked it for `idle` seconds, and is started by the next request.
        """
        self._cache, self._threads, self._idle = cache, threads, idle
        self._reservations = Reservations(cache, threads)
        self._places: dict[tuple[str, Path], _Place] = {}
        self._kinds: dict[Path, str] = {}
        self._adapted: dict[tuple[Path, str], tuple[Path, _Running]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def get(self, folder: Path) -> Engine:
        """The engine that answers for the model in `folder`: llama.cpp, or transformers where that cannot run it."""
        return await self._running(await self._kind(folder), folder)

    async def scorer(self, folder: Path) -> Engine:
        """The engine with `capabilities.score` for the model in `folder`."""
        return await self._running(_REFERENCE, folder)

    async def embedder(self, folder: Path) -> Engine:
        """The engine with `capabilities.embed` for the base in `folder`."""
        return await self._running(_REFERENCE, folder)

    async def ensure(self, folder: Path, name: str, adapter: Path) -> Engine:
        """The engine on which the adapter in the folder `adapter` answers to `name`, loaded now if it was not.

        It is the one that `get` gives, or transformers for adapters that llama.cpp cannot run. Raises NotFoundError
        when there is no adapter, InputError when it does not belong to this model.
        """
        known = self._adapted.get((folder.resolve(), name))
        if known and known[0] == adapter:
            return known[1]
        engine = await self._running(await self._kind(folder, adapter), folder)
        try:
            await engine.load_adapter(name, adapter)
        except NotFoundError:
            raise
        except InputError:
            if isinstance(engine, Transformers):
                raise
            engine = await self._running(_REFERENCE, folder)
            await engine.load_adapter(name, adapter)
        self._adapted[folder.resolve(), name] = (adapter, engine)
        return engine

    async def reserve(self, folder: Path, adapter: Path | None, slots: int, name: str) -> Reservation:
        """An engine of its own for `name`, `slots` answers at once, in front of all that `get` and `ensure` give.

        Raises ExhaustedError, with the figures, when memory or cores do not suffice.
        """
        return await self._reservations.reserve(folder, adapter, slots, name, await self._kind(folder, adapter))

    def check(self, folder: Path, slots: int, adapter: Path | None = None) -> None:
        """Raise ExhaustedError, as `reserve` would, unless there is room for `slots` now."""
        kind = self._kinds.get(folder.resolve(), _DEFAULT)
        if adapter is not None and _beyond_llama(adapter):
            kind = _REFERENCE
        self._reservations.check(folder.resolve(), slots, None, kind)

    def room(self) -> int:
        """Bytes that a reservation may take now."""
        return room()

    async def stats(self) -> list[tuple[Path, str, Stats]]:
        """Of every engine that runs: the model's folder, the engine's name, and what it says of itself."""
        found = []
        for (kind, folder), place in list(self._places.items()):
            if place.engine and place.engine.alive:
                with contextlib.suppress(UnavailableError):
                    found.append((folder, kind, await place.engine.stats()))
        return found

    async def stop(self) -> None:
        """End every engine; a later request would start them again."""
        await asyncio.gather(self._reservations.stop(), *(self._stop(place) for place in self._places.values()))

    async def _kind(self, folder: Path, adapter: Path | None = None) -> str:
        """By what the files say: llama.cpp runs what it can convert, and no adapter but plain LoRA."""
        if adapter is not None and await asyncio.to_thread(_beyond_llama, adapter):
            return _REFERENCE
        resolved = folder.resolve()
        if resolved not in self._kinds:
            reason = await asyncio.to_thread(gguf.can_convert, resolved)
            self._kinds[resolved] = _REFERENCE if reason else _DEFAULT
        return self._kinds[resolved]

    async def _running(self, kind: str, folder: Path) -> _Running:
        place = self._places.setdefault((kind, folder.resolve()), _Place())
        async with place.lock:
            if place.engine is None:
                start = llamacpp.start if kind == _DEFAULT else hf.start
                place.engine = await start(folder.resolve(), threads=self._threads, cache=self._cache, idle=self._idle)
            return place.engine

    async def _stop(self, place: _Place) -> None:
        async with place.lock:
            if place.engine:
                await place.engine.stop()
            place.engine = None


def _beyond_llama(adapter: Path) -> bool:
    """Whether the adapter's files hold more than the plain LoRA that llama.cpp runs."""
    return lora.more_than_pairs(adapter) is not None
