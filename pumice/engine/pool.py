"""Which engine runs what: one engine a model and purpose, made when it is first needed.

This module knows neither names of models nor users; it is asked for folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pumice.config import Serving
from pumice.engine import gguf, hf, llamacpp, lora, remote, reserve, vllm
from pumice.engine.contract import Engine, Kind, Setup, Stats
from pumice.engine.reserve import Reservation, Reservations, refused, room
from pumice.errors import InputError, UnavailableError

LOGGER = logging.getLogger("pumice")


async def _llamacpp(folder: Path, setup: Setup) -> Engine:
    return await llamacpp.start(
        folder,
        threads=setup.threads,
        cache=setup.cache,
        quant=setup.quant,
        slots=setup.slots,
        nice=setup.nice,
        idle=setup.idle,
        favour=setup.favour,
    )


async def _transformers(folder: Path, setup: Setup) -> Engine:
    return await hf.start(folder, cache=setup.cache, threads=setup.threads, nice=setup.nice, idle=setup.idle)


def _not_on_llamacpp(folder: Path, adapter: Path | None) -> str | None:
    return gguf.can_convert(folder) or _more_than_pairs(adapter)


def _not_on_vllm(folder: Path, adapter: Path | None) -> str | None:
    return hf.only_there(folder) or _more_than_pairs(adapter)


def _more_than_pairs(adapter: Path | None) -> str | None:
    reason = lora.more_than_pairs(adapter) if adapter else None
    return f"its adapter is no plain LoRA: {reason}" if reason else None


_KINDS = (
    Kind("llama.cpp", _llamacpp, _not_on_llamacpp, reserve.converted, lambda setup: f"llama.cpp {setup.quant}"),
    Kind("transformers", _transformers, lambda folder, adapter: None, reserve.in_full, lambda setup: "transformers"),
    Kind("vllm", vllm.start, _not_on_vllm, reserve.paged, lambda setup: "vllm"),
    Kind("remote", remote.start, _not_on_vllm, remote.memory, remote.label),
)
ENGINES = {kind.name: kind for kind in _KINDS}
"""Every engine. A setting names one; the first two take what it cannot run, and everything where there is none."""
REFERENCE = ENGINES["transformers"]
BY_FILES = (ENGINES["llama.cpp"], REFERENCE)


@dataclass
class _Place:
    """Where the engine of one folder and kind stands; the lock lets one caller start it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    engine: Engine | None = None


class Pool:
    """The engines of one process, for one event loop: `async with Pool(…) as pool`, or end it with `stop`."""

    def __init__(
        self, cache: Path, threads: int | None = None, serving: Serving | None = None, favour: bool = False
    ) -> None:
        """`cache` holds converted weights and logs; `threads` are for each engine, by default one a physical core.

        `favour` is for servers: figures in reports must not depend on how often somebody asked.
        """
        serving = serving or Serving()
        self._setup = Setup(
            cache, threads, serving.idle, favour=favour, quant=serving.quant, url=serving.url, key=serving.key
        )
        self._asked = ENGINES["remote" if serving.url else serving.engine] if serving.engine else None
        self._reservations = Reservations(self._setup)
        self._places: dict[tuple[str, Path], _Place] = {}
        self._fits: dict[tuple[Path, Path | None], Sequence[Kind]] = {}
        self._reasons: dict[tuple[str, Path, Path | None], str | None] = {}
        self._adapted: dict[tuple[Path, str], tuple[Path, Engine]] = {}
        self._ran: dict[tuple[Path, Path | None], Kind] = {}
        """What each model, bare or with an adapter, was answered by."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def get(self, folder: Path) -> Engine:
        """The engine that answers for the model in `folder`."""
        kind = self._ran[folder.resolve(), None] = (await self._fitting(folder))[0]
        return await self._running(kind, folder)

    async def scorer(self, folder: Path) -> Engine:
        """The engine with `capabilities.score` for the model in `folder`."""
        return await self._running(REFERENCE, folder)

    async def embedder(self, folder: Path) -> Engine:
        """The engine with `capabilities.embed` for the base in `folder`."""
        return await self._running(REFERENCE, folder)

    async def ensure(self, folder: Path, name: str, adapter: Path) -> Engine:
        """The engine on which the adapter in the folder `adapter` answers to `name`, loaded now if it was not.

        It is the one that `get` gives, or another for adapters that it cannot run. Raises NotFoundError when there is
        no adapter, InputError when it does not belong to this model.
        """
        known = self._adapted.get((folder.resolve(), name))
        if known and known[0] == adapter:
            return known[1]
        kinds = await self._fitting(folder, adapter)
        for kind in kinds:
            engine = await self._running(kind, folder)
            try:
                await engine.load_adapter(name, adapter)
            except InputError as error:
                if kind is kinds[-1] or not refused(error):
                    raise
                self._refuse(kind, folder.resolve(), adapter, error.what)
            else:
                break
        self._ran[folder.resolve(), adapter] = kind
        self._adapted[folder.resolve(), name] = (adapter, engine)
        return engine

    def answered(self, folder: Path, adapter: Path | None = None) -> tuple[str, str] | None:
        """What answered for a model, for the record: an engine with the precision of its weights, `llama.cpp q8_0`;
        and a sentence where it is not the one that was asked for, else "". None where nothing was asked.
        """
        kind = self._ran.get((folder.resolve(), adapter))
        if kind is None:
            return None
        said = ""
        if self._asked and self._asked is not kind:
            reason = self._reasons[self._asked.name, folder.resolve(), adapter]
            said = f"{kind.name} answers, not {self._asked.label(self._setup)}, for {folder.name}: {reason}."
        return kind.label(self._setup), said

    async def reserve(self, folder: Path, adapter: Path | None, slots: int, name: str) -> Reservation:
        """An engine of its own for `name`, `slots` answers at once, in front of all that `get` and `ensure` give.

        Raises ExhaustedError, with the figures, when memory or cores do not suffice.
        """
        return await self._reservations.reserve(folder, adapter, slots, name, await self._fitting(folder, adapter))

    def check(self, folder: Path, slots: int, adapter: Path | None = None) -> None:
        """Raise ExhaustedError, as `reserve` would, unless there is room for `slots` now."""
        self._reservations.check(folder.resolve(), slots, None, self._choose(folder.resolve(), adapter)[0])

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

    async def _fitting(self, folder: Path, adapter: Path | None = None) -> Sequence[Kind]:
        """The engines that can run it, by what the files say, the one that shall first."""
        place = folder.resolve(), adapter
        if place not in self._fits:
            self._fits[place] = await asyncio.to_thread(self._choose, *place)
        return self._fits[place]

    def _choose(self, folder: Path, adapter: Path | None) -> Sequence[Kind]:
        if self._asked is REFERENCE:
            return (REFERENCE,)
        order = (self._asked, *(kind for kind in BY_FILES if kind is not self._asked)) if self._asked else BY_FILES
        return [kind for kind in order if self._why_not(kind, folder, adapter) is None]

    def _why_not(self, kind: Kind, folder: Path, adapter: Path | None) -> str | None:
        if (kind.name, folder, adapter) not in self._reasons:
            self._refuse(kind, folder, adapter, kind.why_not(folder, adapter))
        return self._reasons[kind.name, folder, adapter]

    def _refuse(self, kind: Kind, folder: Path, adapter: Path | None, reason: str | None) -> None:
        """Remember why the engine cannot run it, and say so where it was asked for by name."""
        self._reasons[kind.name, folder, adapter] = reason
        self._fits.pop((folder, adapter), None)
        if reason and kind is self._asked:
            LOGGER.warning("%s does not run %s: %s", kind.label(self._setup), adapter or folder, reason)

    async def _running(self, kind: Kind, folder: Path) -> Engine:
        place = self._places.setdefault((kind.name, folder.resolve()), _Place())
        async with place.lock:
            if place.engine is None:
                place.engine = await kind.start(folder.resolve(), self._setup)
            return place.engine

    async def _stop(self, place: _Place) -> None:
        async with place.lock:
            if place.engine:
                await place.engine.stop()
            place.engine = None
