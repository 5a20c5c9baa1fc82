"""The reference engine: transformers and peft at full precision, for whatever llama.cpp cannot run, and for scores.

It answers one request at a time. This module knows neither torch, which its child imports, nor text.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import psutil

from pumice.bases.classifiers import classifies
from pumice.bases.seq2seq import ARCHITECTURES
from pumice.engine import adapter as adapters
from pumice.engine.child import BEHIND, Child
from pumice.engine.contract import Capabilities, Delta, Generate, Stats, TokenLogprob
from pumice.engine.keeper import Keeper
from pumice.engine.wire import room_for
from pumice.errors import InputError, NotFoundError, UnavailableError

CAPABILITIES = Capabilities("transformers", score=True, constraints=frozenset(), embed=True)
_READER = Capabilities("transformers", score=False, constraints=frozenset(), embed=True)
"""Of a base that was made to read only."""
_SEQ2SEQ = Capabilities("transformers", score=True, constraints=frozenset())
_CLASSIFIER = Capabilities("transformers", score=False, constraints=frozenset(), classify=True)

_MOST = 64
"""Adapters that are loaded at once."""


async def start(
    folder: Path,
    *,
    threads: int | None = None,
    cache: Path,
    context: int | None = None,
    nice: int = BEHIND,
    idle: float | None = None,
) -> Transformers:
    """Serve the model in `folder`; logs go to `cache`. Float32 on a CPU, bfloat16 on a GPU.

    Prompt and answer together have at most `context` tokens, by default the model's window. Raises UnavailableError
    when the model cannot be loaded.
    """
    capabilities = capabilities_of(folder)
    orders = {
        "model": str(folder.resolve()),
        "threads": threads or psutil.cpu_count(logical=False) or 1,
        "reads_only": capabilities is _READER,
        "classifies": capabilities.classify,
        "seq2seq": capabilities is _SEQ2SEQ,
    }
    title = f"The transformers engine for {folder.name}"
    begin = partial(Child.start, "pumice.engine.hf_child", orders, title, cache / "logs", nice)
    keeper = Keeper(title, begin, idle)
    await keeper.open()
    return Transformers(keeper, min(context or math.inf, window(folder)), capabilities)


class Transformers:
    """transformers for one model. Made by `start`."""

    def __init__(self, keeper: Keeper, context: float, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._keeper, self._context = keeper, context
        self._adapters: dict[str, Path] = {}
        self._loaded: dict[str, Path] = {}
        """What the process has, the one that was asked for last last."""
        self._holder: Child | None = None
        """The process that has them."""
        self._changing = asyncio.Lock()
        self._fronts: dict[str, int] = {}
        """Positions of the window that each takes for itself."""

    @property
    def alive(self) -> bool:
        """Whether a process runs; the next request starts one."""
        return self._keeper.alive

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """See the contract. Raises InputError for a prompt that leaves no room in the window, and for constraints."""
        self._check_writes()
        self._check(request.adapter)
        room = room_for(request, self._room(request.adapter), self.capabilities)
        async with (
            self._with(request.adapter) as child,
            aclosing(child.complete(request, room, {"adapter": request.adapter})) as deltas,
        ):
            async for delta in deltas:
                yield delta

    async def score(self, ids: Sequence[int], adapter: str | None = None, top: int = 0) -> list[TokenLogprob]:
        """See the contract."""
        self._check_writes()
        self._check(adapter)
        room = self._room(adapter)
        if not 2 <= len(ids) <= room:
            raise InputError(f"{len(ids)} ids cannot be scored; between 2 and {room:.0f} can.")
        async with self._with(adapter) as child:
            answer = await child.post("/score", {"prompt": list(ids), "adapter": adapter, "top": top})
        return [TokenLogprob(id_, logprob, tuple(map(tuple, best))) for id_, logprob, best in answer["tokens"]]

    async def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """See the contract. Raises InputError for an empty text or one that is longer than the window."""
        if self.capabilities.classify:
            _refuse_classifier()
        if not self.capabilities.embed:
            raise InputError("A seq2seq base makes no vectors here.", fix="Name a base that continues texts.")
        self._check_lengths(batch, "become a vector")
        if not batch:
            return []
        async with self._with(None) as child:
            answer = await child.post("/embed", {"batch": [list(ids) for ids in batch]})
        return [[float(value) for value in vector] for vector in answer["vectors"]]

    async def classify(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """See the contract. Raises InputError for an empty text or one that is longer than the window."""
        if not self.capabilities.classify:
            raise InputError("This model names no classes.", "It is no classifier.", "Name a model that is one.")
        self._check_lengths(batch, "be classified")
        if not batch:
            return []
        async with self._with(None) as child:
            answer = await child.post("/classify", {"batch": [list(ids) for ids in batch]})
        return [[float(value) for value in values] for values in answer["values"]]

    async def load_adapter(self, name: str, folder: Path) -> None:
        """See the contract. Any adapter that peft can load will do."""
        if self.capabilities.classify:
            _refuse_classifier()
        front, before = adapters.in_front(folder), self._adapters.get(name)
        self._adapters[name] = folder.resolve()
        try:
            async with self._with(name):
                self._fronts[name] = front
        except BaseException:
            del self._adapters[name]
            if before is not None:
                self._adapters[name] = before
            raise

    async def unload_adapter(self, name: str) -> None:
        """See the contract."""
        self._check(name)
        del self._adapters[name], self._fronts[name]
        async with self._keeper.use() as child:
            await self._drop(child, name)

    async def stats(self) -> Stats:
        """See the contract. Raises UnavailableError while no process runs."""
        child = self._keeper.child
        if child is None:
            raise UnavailableError("No process runs.")
        return Stats(child.pid, child.rss_bytes(), child.running, tuple(self._adapters))

    async def stop(self) -> None:
        """See the contract."""
        await self._keeper.stop()

    @asynccontextmanager
    async def _with(self, adapter: str | None) -> AsyncIterator[Child]:
        """The process, with the adapter loaded."""
        async with self._keeper.use() as child:
            if adapter is not None:
                async with self._changing:
                    await self._load(child, adapter)
            yield child

    async def _load(self, child: Child, name: str) -> None:
        if self._holder is not child:
            self._holder, self._loaded = child, {}
        folder = self._adapters[name]
        before = self._loaded.pop(name, None)
        if before != folder:
            await child.post("/adapters", {"name": name, "folder": str(folder)})
        self._loaded[name] = folder
        if len(self._loaded) > _MOST:
            await self._drop(child, next(iter(self._loaded)))

    async def _drop(self, child: Child, name: str) -> None:
        if self._holder is child and name in self._loaded:
            del self._loaded[name]
            await child.post("/adapters", {"name": name, "folder": None})

    def _check_lengths(self, batch: Sequence[Sequence[int]], what: str) -> None:
        for at, ids in enumerate(batch):
            if not 1 <= len(ids) <= self._context:
                raise InputError(
                    f"Text {at + 1} of {len(batch)} has {len(ids):,} tokens.",
                    f"Between 1 and {self._context:,.0f} can {what}.",
                    "Leave empty texts out, and cut long ones into parts.",
                )

    def _check_writes(self) -> None:
        if self.capabilities.classify:
            _refuse_classifier()
        if self.capabilities is _READER:
            raise InputError(
                "This base turns texts into vectors; it cannot write.",
                "It is an encoder: it has no head that chooses a next token.",
                "Ask it for embeddings, or name a base that answers.",
            )

    def _room(self, adapter: str | None) -> float:
        """Tokens of a conversation that fit into the window."""
        return self._context - self._fronts.get(adapter or "", 0)

    def _check(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._adapters:
            raise NotFoundError(f"The adapter {adapter} is not loaded.")


def capabilities_of(folder: Path) -> Capabilities:
    """What the model can do, as its architecture's name tells: `BertModel` and `XLMRobertaForMaskedLM` are encoders."""
    name = (json.loads((folder / "config.json").read_bytes()).get("architectures") or [""])[0]
    if classifies(name):
        return _CLASSIFIER
    if name in ARCHITECTURES:
        return _SEQ2SEQ
    reads_only = name.endswith("ForMaskedLM") or (name.endswith("Model") and not name.endswith("LMHeadModel"))
    return _READER if reads_only else CAPABILITIES


def only_there(folder: Path) -> str | None:
    """Why no engine but this one runs the model, as half a sentence; None where another may."""
    can = capabilities_of(folder)
    if can.classify:
        return "it is a classifier"
    if can is _SEQ2SEQ:
        return "it reads with one half and writes with the other"
    return "it turns texts into vectors and cannot write" if can is _READER else None


def _refuse_classifier() -> NoReturn:
    raise InputError(
        "This model is a classifier: it names classes or gives scores.",
        "It has no head that chooses a next token.",
        "Ask it for classes, or name a model that writes.",
    )


def window(folder: Path) -> float:
    """Tokens that the model sees at once; infinite where its files name no limit."""
    config = json.loads((folder / "config.json").read_bytes())
    text = config.get("text_config", config)
    found = [text[key] for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len") if text.get(key)]
    return float(found[0]) if found else math.inf
