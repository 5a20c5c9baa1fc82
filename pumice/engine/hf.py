"""The reference engine: transformers and peft at full precision, for whatever llama.cpp cannot run, and for scores.

It answers one request at a time. This module knows neither torch, which its child imports, nor text.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn

import psutil

from pumice.bases.classifiers import classifies
from pumice.bases.seq2seq import ARCHITECTURES
from pumice.engine import adapter as adapters
from pumice.engine.child import BEHIND, Child
from pumice.engine.contract import Capabilities, Delta, Generate, Stats, TokenLogprob
from pumice.engine.wire import room_for
from pumice.errors import InputError, NotFoundError

CAPABILITIES = Capabilities("transformers", adapters=True, score=True, constraints=frozenset(), embed=True)
_READER = Capabilities("transformers", adapters=False, score=False, constraints=frozenset(), embed=True)
"""Of a base that was made to read only."""
_SEQ2SEQ = Capabilities("transformers", adapters=True, score=True, constraints=frozenset())
_CLASSIFIER = Capabilities("transformers", adapters=False, score=False, constraints=frozenset(), classify=True)


async def start(
    folder: Path, *, threads: int | None = None, cache: Path, context: int | None = None, nice: int = BEHIND
) -> Transformers:
    """Serve the model in `folder`; logs go to `cache`. Float32 on a CPU, bfloat16 on a GPU.

    Prompt and answer together have at most `context` tokens, by default the model's window. Raises UnavailableError
    when the model cannot be loaded.
    """
    capabilities = _capabilities(folder)
    orders = {
        "model": str(folder.resolve()),
        "threads": threads or psutil.cpu_count(logical=False) or 1,
        "reads_only": capabilities is _READER,
        "classifies": capabilities.classify,
        "seq2seq": capabilities is _SEQ2SEQ,
    }
    child = await Child.start(
        "pumice.engine.hf_child", orders, f"The transformers engine for {folder.name}", cache / "logs", nice
    )
    return Transformers(child, min(context or math.inf, _window(folder)), capabilities)


class Transformers:
    """A running transformers process. Made by `start`."""

    def __init__(self, child: Child, context: float, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._child, self._context = child, context
        self._adapters: dict[str, Path] = {}
        self._fronts: dict[str, int] = {}
        """Positions of the window that each takes for itself."""

    @property
    def alive(self) -> bool:
        """Whether requests can be answered."""
        return self._child.alive

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """See the contract. Raises InputError for a prompt that leaves no room in the window, and for constraints."""
        self._check_writes()
        self._check(request.adapter)
        room = room_for(request, self._room(request.adapter), self.capabilities)
        async with aclosing(self._child.complete(request, room, {"adapter": request.adapter})) as deltas:
            async for delta in deltas:
                yield delta

    async def score(self, ids: Sequence[int], adapter: str | None = None, top: int = 0) -> list[TokenLogprob]:
        """See the contract."""
        self._check_writes()
        self._check(adapter)
        room = self._room(adapter)
        if not 2 <= len(ids) <= room:
            raise InputError(f"{len(ids)} ids cannot be scored; between 2 and {room:.0f} can.")
        answer = await self._child.post("/score", {"prompt": list(ids), "adapter": adapter, "top": top})
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
        answer = await self._child.post("/embed", {"batch": [list(ids) for ids in batch]})
        return [[float(value) for value in vector] for vector in answer["vectors"]]

    async def classify(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """See the contract. Raises InputError for an empty text or one that is longer than the window."""
        if not self.capabilities.classify:
            raise InputError("This model names no classes.", "It is no classifier.", "Name a model that is one.")
        self._check_lengths(batch, "be classified")
        if not batch:
            return []
        answer = await self._child.post("/classify", {"batch": [list(ids) for ids in batch]})
        return [[float(value) for value in values] for values in answer["values"]]

    async def load_adapter(self, name: str, folder: Path) -> None:
        """See the contract. Any adapter that peft can load will do."""
        if self.capabilities.classify:
            _refuse_classifier()
        front = adapters.in_front(folder)
        if self._adapters.get(name) == folder.resolve():
            return
        await self._child.post("/adapters", {"name": name, "folder": str(folder.resolve())})
        self._adapters[name], self._fronts[name] = folder.resolve(), front

    async def unload_adapter(self, name: str) -> None:
        """See the contract."""
        self._check(name)
        del self._adapters[name], self._fronts[name]
        await self._child.post("/adapters", {"name": name, "folder": None})

    async def stats(self) -> Stats:
        """See the contract."""
        return Stats(self._child.pid, self._child.rss_bytes(), self._child.running, tuple(self._adapters))

    async def stop(self) -> None:
        """See the contract."""
        await self._child.stop()

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


def _capabilities(folder: Path) -> Capabilities:
    """What the model can do, as its architecture's name tells: `BertModel` and `XLMRobertaForMaskedLM` are encoders."""
    name = (json.loads((folder / "config.json").read_bytes()).get("architectures") or [""])[0]
    if classifies(name):
        return _CLASSIFIER
    if name in ARCHITECTURES:
        return _SEQ2SEQ
    reads_only = name.endswith("ForMaskedLM") or (name.endswith("Model") and not name.endswith("LMHeadModel"))
    return _READER if reads_only else CAPABILITIES


def _refuse_classifier() -> NoReturn:
    raise InputError(
        "This model is a classifier: it names classes or gives scores.",
        "It has no head that chooses a next token.",
        "Ask it for classes, or name a model that writes.",
    )


def _window(folder: Path) -> float:
    config = json.loads((folder / "config.json").read_bytes())
    text = config.get("text_config", config)
    found = [text[key] for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len") if text.get(key)]
    return float(found[0]) if found else math.inf
