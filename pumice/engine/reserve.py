"""Capacity that is promised: an engine process of its own for one model, in front of all others. Knows no pool.

What it needs is counted before it starts, so that a promise is never made that memory or cores cannot keep.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pumice.bases.describe import read_config
from pumice.engine import hf, llamacpp
from pumice.engine.contract import CONTEXT, Engine
from pumice.engine.hf import Transformers
from pumice.engine.llamacpp import LlamaCpp
from pumice.engine.tensors import folder_entries
from pumice.errors import ExhaustedError, InputError, NotFoundError, UnavailableError

SLOTS_A_CORE = 4
"""Answers at once that a physical core is promised to, over all reservations."""
_MARGIN = 512 * 2**20
"""Bytes that stay free for everything else on the machine."""
_PROCESS = 150 * 2**20
"""Bytes of an engine process besides weights and context."""
_TORCH = 700 * 2**20
"""The same of one that runs torch."""
_FRONT = 0
"""Niceness; engines that answer on demand run behind it."""


def room() -> int:
    """Bytes that a reservation may take now."""
    return max(0, psutil.virtual_memory().available - _MARGIN)


def memory_needed(folder: Path, slots: int, kind: str = llamacpp.CAPABILITIES.name) -> int:
    """Bytes that an engine of `kind` for the model in `folder` takes with `slots` answers at once, by its files."""
    config = read_config(folder)
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    # Keys and values of each layer; where one half reads and the other writes, of both texts.
    texts = 2 if config.get("is_encoder_decoder") else 1
    token: int = 2 * texts * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * width
    window = int(config["max_position_embeddings"])
    if kind == hf.CAPABILITIES.name:
        # It computes in float32, and answers one at a time.
        return 4 * (sum(math.prod(each.shape) for each in folder_entries(folder)) + window * token) + _TORCH
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    # The files may be of higher precision than what is served: it is never more than they are.
    return int(weights + slots * min(CONTEXT, window) * 2 * token + _PROCESS)


def _is_more_than_llama(error: BaseException, kind: str) -> bool:
    refused = isinstance(error, InputError) and not isinstance(error, NotFoundError)
    return refused and kind == llamacpp.CAPABILITIES.name


@dataclass
class Reservation:
    """One promise. Made by `Reservations.reserve`."""

    name: str
    folder: Path
    adapter: Path | None
    """The adapter that answers to `name`; None for the bare model."""
    slots: int
    kind: str
    book: Reservations
    _engine: LlamaCpp | Transformers | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _released: bool = False

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._engine is not None and self._engine.alive

    async def engine(self) -> Engine:
        """The engine. Raises UnavailableError once it was released."""
        async with self._lock:
            self._check()
            if self._engine is None:
                self._engine = await self._start()
            return self._engine

    async def resize(self, slots: int) -> None:
        """Answer so many at once; answers under way end where they began. Raises ExhaustedError as `reserve` does."""
        async with self._lock:
            self._check()
            self.book.check(self.folder, slots, self, self.kind)
            before, self.slots = self.slots, slots
            old = self._engine
            try:
                self._engine = await self._start()
            except BaseException:
                self.slots = before
                raise
        if old:
            self.book.retire(old)

    async def release(self) -> None:
        """End the process and give its room back; idempotent."""
        async with self._lock:
            self._released = True
            engine, self._engine = self._engine, None
            self.book.forget(self)
        if engine:
            await engine.stop()

    def _check(self) -> None:
        if self._released:
            raise UnavailableError(f"The capacity reserved for {self.name} was released.", "", "Reserve it again.")

    async def _start(self) -> LlamaCpp | Transformers:
        cache, threads = self.book.cache, self.book.threads
        engine: LlamaCpp | Transformers
        if self.kind == llamacpp.CAPABILITIES.name:
            engine = await llamacpp.start(self.folder, cache=cache, threads=threads, slots=self.slots, nice=_FRONT)
        else:
            engine = await hf.start(self.folder, cache=cache, threads=threads, nice=_FRONT)
        try:
            if self.adapter is not None:
                await engine.load_adapter(self.name, self.adapter)
        except BaseException as error:
            await engine.stop()
            if not _is_more_than_llama(error, self.kind):
                raise
            # As `Pool.ensure` does: an adapter that llama.cpp refuses may be one for transformers.
            self.kind = hf.CAPABILITIES.name
            return await self._start()
        return engine


class Reservations:
    """All promises of one server."""

    def __init__(self, cache: Path, threads: int | None) -> None:
        self.cache, self.threads = cache, threads
        self._held: list[Reservation] = []
        self._retiring: set[asyncio.Task[None]] = set()

    async def reserve(self, folder: Path, adapter: Path | None, slots: int, name: str, kind: str) -> Reservation:
        """Start an engine of `kind` for `name` with `slots` answers at once.

        Raises ExhaustedError, with the figures, when memory or cores do not suffice.
        """
        folder = folder.resolve()
        self.check(folder, slots, None, kind)
        made = Reservation(name, folder, adapter, slots, kind, self)
        # Held from here on: another caller must not be promised the same cores.
        self._held.append(made)
        try:
            await made.engine()
        except BaseException:
            self.forget(made)
            raise
        return made

    def check(self, folder: Path, slots: int, resized: Reservation | None, kind: str) -> None:
        """Raise ExhaustedError unless there is room for `slots`, those of `resized` being given back."""
        most = SLOTS_A_CORE * (psutil.cpu_count(logical=False) or 1)
        taken = sum(each.slots for each in self._held if each is not resized)
        if not 1 <= slots <= most - taken:
            raise ExhaustedError(
                f"{slots} answers at once cannot be reserved: {taken} of {most} are reserved already.",
                f"A physical core is promised to {SLOTS_A_CORE} answers at most.",
                "Reserve fewer, or release what is reserved elsewhere.",
            )
        # While it is resized the old process and the new one are both there, but weights are mapped from one file.
        needed, free = memory_needed(folder, slots, kind), room()
        if needed > free:
            raise ExhaustedError(
                f"{slots} answers at once need {needed / 2**20:,.0f} MiB; {free / 2**20:,.0f} MiB are free.",
                "Memory is counted before it is promised.",
                "Reserve fewer, release what is reserved elsewhere, or stop other work on this machine.",
            )

    def forget(self, reservation: Reservation) -> None:
        """Give its room back."""
        if reservation in self._held:
            self._held.remove(reservation)

    def retire(self, engine: LlamaCpp | Transformers) -> None:
        """End the engine when its last answer is out."""
        task = asyncio.create_task(_after_its_answers(engine))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def stop(self) -> None:
        """Release everything."""
        await asyncio.gather(*(each.release() for each in list(self._held)))
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)


async def _after_its_answers(engine: LlamaCpp | Transformers) -> None:
    try:
        while engine.alive and (await engine.stats()).running:
            await asyncio.sleep(0.1)
    finally:
        await engine.stop()
