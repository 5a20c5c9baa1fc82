"""Capacity that is promised: an engine process of its own for one model, in front of all others. Knows no pool.

What it needs is counted before it starts, so that a promise is never made that memory or cores cannot keep.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from pumice.bases.describe import read_config
from pumice.config import Quant
from pumice.engine.contract import CONTEXT, Engine, Kind, Setup
from pumice.engine.tensors import folder_entries
from pumice.errors import ExhaustedError, InputError, NotFoundError, UnavailableError

LOGGER = logging.getLogger("pumice")
SLOTS_A_CORE = 4
"""Answers at once that a physical core is promised to, over all reservations."""
_ON_DEMAND = 8
"""Answers at once of an engine that nobody gave a number; fewer where memory is short."""
_SHARE = 4
"""One part in so many of the machine's memory is for what those answers keep."""
_MARGIN = 512 * 2**20
"""Bytes that stay free for everything else on the machine."""
_PROCESS = 150 * 2**20
"""Bytes of an engine process besides weights and context."""
_TORCH = 700 * 2**20
"""The same of one that runs torch."""
_VLLM = 3300 * 2**20
"""The same of vLLM's processes."""
_WIDE = {"f16": 2, "f32": 4}
"""Bytes of a weight, where they may be more than the file has."""
_FRONT = 0
"""Niceness; engines that answer on demand run behind it."""


def room() -> int:
    """Bytes that a reservation may take now."""
    return max(0, psutil.virtual_memory().available - _MARGIN)


def converted(folder: Path, slots: int, setup: Setup) -> int:
    """Bytes of llama.cpp for the model in `folder` with `slots` answers at once, by its files."""
    # Where less is asked for than the files may be of, it is never more than they are.
    files = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    weights = _WIDE[setup.quant] * _numbers(folder) if setup.quant in _WIDE else files
    return int(weights + slots * _slot(folder, setup.quant) + _PROCESS)


def on_demand(folder: Path, quant: Quant) -> int:
    """Answers at once of llama.cpp for the model in `folder`, where nobody says how many."""
    return max(1, min(_ON_DEMAND, psutil.virtual_memory().total // _SHARE // _slot(folder, quant)))


def _slot(folder: Path, quant: Quant) -> int:
    """Bytes of what one answer of llama.cpp keeps, with its prompt."""
    token, window = kept(folder)
    return min(CONTEXT, window) * (4 if quant == "f32" else 2) * token


def in_full(folder: Path, slots: int, setup: Setup) -> int:
    """Bytes of transformers: it computes in float32, and answers one at a time."""
    token, window = kept(folder)
    return 4 * (_numbers(folder) + window * token) + _TORCH


def paged(folder: Path, slots: int, setup: Setup) -> int:
    """Bytes of vLLM on a CPU, in float32."""
    token, window = kept(folder)
    return 4 * (_numbers(folder) + slots * min(CONTEXT, window) * token) + _VLLM


def kept(folder: Path) -> tuple[int, int]:
    """Keys and values that a token leaves behind, one by one, and how many tokens there may be."""
    config = read_config(folder)
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    # Keys and values of each layer; where one half reads and the other writes, of both texts.
    texts = 2 if config.get("is_encoder_decoder") else 1
    token = 2 * texts * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * width
    return token, int(config["max_position_embeddings"])


def _numbers(folder: Path) -> int:
    """Weights, one by one."""
    return sum(math.prod(each.shape) for each in folder_entries(folder))


@dataclass
class Reservation:
    """One promise. Made by `Reservations.reserve`."""

    name: str
    folder: Path
    adapter: Path | None
    """The adapter that answers to `name`; None for the bare model."""
    slots: int
    kinds: Sequence[Kind]
    """What may answer, the first that can."""
    book: Reservations
    _engine: Engine | None = None
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
            self.book.check(self.folder, slots, self, self.kinds[0])
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

    async def _start(self) -> Engine:
        setup = replace(self.book.setup, slots=self.slots, nice=_FRONT, idle=None, favour=False)
        engine = await self.kinds[0].start(self.folder, setup)
        try:
            if self.adapter is not None:
                await engine.load_adapter(self.name, self.adapter)
        except BaseException as error:
            await engine.stop()
            if not refused(error) or len(self.kinds) == 1:
                raise
            LOGGER.warning("%s does not run %s: %s", self.kinds[0].name, self.name, error)
            self.kinds = self.kinds[1:]
            return await self._start()
        return engine


def refused(error: BaseException) -> bool:
    """Whether it says that an adapter is not for this engine; another one may run it."""
    return isinstance(error, InputError) and not isinstance(error, NotFoundError)


class Reservations:
    """All promises of one server."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._held: list[Reservation] = []
        self._retiring: set[asyncio.Task[None]] = set()

    async def reserve(
        self, folder: Path, adapter: Path | None, slots: int, name: str, kinds: Sequence[Kind]
    ) -> Reservation:
        """Start an engine for `name` with `slots` answers at once: the first of `kinds`, or one that runs the adapter.

        Raises ExhaustedError, with the figures, when memory or cores do not suffice.
        """
        folder = folder.resolve()
        self.check(folder, slots, None, kinds[0])
        made = Reservation(name, folder, adapter, slots, kinds, self)
        # Held from here on: another caller must not be promised the same cores.
        self._held.append(made)
        try:
            await made.engine()
        except BaseException:
            self.forget(made)
            raise
        return made

    def check(self, folder: Path, slots: int, resized: Reservation | None, kind: Kind) -> None:
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
        needed, free = kind.memory(folder, slots, self.setup), room()
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

    def retire(self, engine: Engine) -> None:
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


async def _after_its_answers(engine: Engine) -> None:
    try:
        while engine.alive and (await engine.stats()).running:
            await asyncio.sleep(0.1)
    finally:
        await engine.stop()
