"""vLLM, for GPUs: `vllm serve` as a child process, any number of LoRA adapters over one base.

It is a program of its own, in an environment of its own: this module knows only where to find it and what to ask.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from pumice.bases.describe import read_config
from pumice.engine import apart, constraints, hf, lora, vocabulary
from pumice.engine.adapter import fingerprint
from pumice.engine.child import Child
from pumice.engine.completions import Completions, WritesOnly
from pumice.engine.contract import CONTEXT, Capabilities, Constraint, Delta, Generate, Setup, Stats
from pumice.engine.keeper import Keeper
from pumice.engine.line import NEVER, Line
from pumice.engine.reserve import kept
from pumice.engine.turns import Turns
from pumice.engine.wire import room_for
from pumice.errors import InputError, NotFoundError, UnavailableError

_CAPABILITIES = Capabilities("vllm", score=False, constraints=frozenset({"json_schema", "lark"}))
_NAME = "pumice-base"
"""What vLLM calls the base."""
_RANKS = (16, 32, 64, 128, 256, 512)
"""Largest ranks that it can be started for; memory is taken for the largest."""
_IN_A_STEP = 4
"""Different adapters."""
_CONTEXTS = 4
_LOADED = 64
"""Adapters that are loaded at once; it reads the others again when they are asked for."""
_SLOTS = 64
_GPU = Path("/dev/nvidiactl")
_ON_CPU = ("--dtype", "float32", "--enforce-eager")


@dataclass(frozen=True)
class _Adapter:
    name: str
    """What vLLM calls it."""
    folder: Path
    rank: int


@dataclass
class _Process:
    """What is known of one process."""

    child: Child
    server: Completions
    loaded: set[str]


async def start(folder: Path, setup: Setup) -> Vllm:
    """Serve the model in `folder`, float32 on a CPU and as the files say on a GPU. Raises InputError without a `vllm`
    program, UnavailableError when it cannot run the model.
    """
    engine = Vllm(folder, _program(), setup)
    await engine._keeper.open()
    return engine


def _program() -> Path:
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.is_file() else shutil.which("vllm")
    if found is None:
        raise InputError(
            "PUMICE_ENGINE=vllm, and there is no program vllm.",
            "It is looked for beside Pumice's own Python and on PATH.",
            "Install it in an environment of its own (python -m venv …; pip install vllm) and put its bin on PATH.",
        )
    return Path(found)


class Vllm(WritesOnly):
    """vLLM for one model. Made by `start`."""

    def __init__(self, folder: Path, program: Path, setup: Setup) -> None:
        self.title = f"The vLLM engine for {folder.name}"
        self.capabilities = _CAPABILITIES
        self._folder, self._program, self._setup = folder.resolve(), program, setup
        self._context = int(min(CONTEXT, hf.window(folder)))
        self._slots = setup.slots or _SLOTS
        self._keeper = Keeper(self.title, self._start, setup.idle)
        self._turns = Turns(self._slots)
        self._adapters: dict[str, _Adapter] = {}
        self._process: _Process | None = None
        self._rank = _RANKS[0]
        self._tried = False

    @property
    def alive(self) -> bool:
        """Whether a process runs; the next request starts one."""
        return self._keeper.alive

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """See the contract. Raises InputError for a prompt that leaves no room in the context."""
        room = room_for(request, self._context, self.capabilities)
        adapter = None if request.adapter is None else self._known(request.adapter)
        name = adapter.name if adapter else None
        while True:
            if adapter:
                await self._bring(adapter)
            async with self._turns.seat(None if self.capabilities.mixed else name), self._keeper.use() as child:
                process = self._of(child)
                if adapter and adapter.name not in process.loaded:
                    # Another process has taken the place of the one that had it.
                    continue
                try:
                    async with aclosing(process.server.generate(request, room, name)) as deltas:
                        async for delta in deltas:
                            yield delta
                except UnavailableError as error:
                    # Its server may live on for a moment after the engine behind it has died.
                    raise child.gone() from error
                return

    async def load_adapter(self, name: str, folder: Path) -> None:
        """See the contract. Raises InputError for one that is not plain LoRA or not of this base."""
        rank = max(pair.a.shape[0] for pair in lora.fitting_pairs(folder, self._folder))
        if rank > _RANKS[-1]:
            raise InputError(f"The adapter {folder} has rank {rank}; vLLM runs ranks up to {_RANKS[-1]}.")
        adapter = _Adapter(f"adapter-{fingerprint(folder)}", folder.resolve(), rank)
        await self._bring(adapter)
        self._adapters[name] = adapter

    async def unload_adapter(self, name: str) -> None:
        """See the contract."""
        adapter = self._known(name)
        del self._adapters[name]
        if adapter in self._adapters.values():
            return
        async with self._turns.seat(object()), self._keeper.use() as child:
            process = self._of(child)
            if adapter.name in process.loaded:
                process.loaded.discard(adapter.name)
                await process.server.unload(adapter.name)

    async def stats(self) -> Stats:
        """See the contract. Raises UnavailableError while no process runs."""
        child = self._keeper.child
        if child is None or self._process is None:
            raise UnavailableError(f"{self.title} does not run.")
        size = child.rss_bytes()
        for process in psutil.Process(child.pid).children(recursive=True):
            size += process.memory_info().rss
        return Stats(child.pid, size, self._process.server.line.running, tuple(self._adapters))

    async def stop(self) -> None:
        """See the contract."""
        await self._keeper.stop()
        if self._process:
            await self._process.server.line.close()

    def _known(self, name: str) -> _Adapter:
        if name not in self._adapters:
            raise NotFoundError(f"The adapter {name} is not loaded.")
        return self._adapters[name]

    def _of(self, child: Child) -> _Process:
        assert self._process and self._process.child is child
        return self._process

    async def _bring(self, adapter: _Adapter) -> None:
        """Load the adapter while no answer is under way: one could be given by what comes in (vllm#47724)."""
        async with self._keeper.use() as child:
            if adapter.name in self._of(child).loaded:
                return
        async with self._turns.seat(object()), self._keeper.use() as child:
            if adapter.rank > self._rank:
                self._rank = next(rank for rank in _RANKS if rank >= adapter.rank)
                child = await self._keeper.renew()
            process = self._of(child)
            if adapter.name not in process.loaded:
                await process.server.load(adapter.name, adapter.folder)
                process.loaded.add(adapter.name)

    async def _start(self) -> Child:
        orders = {"program": str(self._program), "arguments": self._arguments(), "environment": self._environment()}
        logs = self._setup.cache / "logs"
        child = await Child.start("pumice.engine.vllm_child", orders, self.title, logs, self._setup.nice)
        transport = httpx.AsyncHTTPTransport(
            uds=str(child.socket), limits=httpx.Limits(max_connections=None, keepalive_expiry=3.0)
        )
        http = httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=NEVER)
        line = Line(http, self.title, lambda why: child.gone())
        stops = vocabulary.stop_ids(self._folder, read_config(self._folder))
        server = Completions(line, _NAME, stops, extended=True, form=_as_grammar)
        try:
            if not self._tried:
                self.capabilities = await apart.tried(server, self._folder, self.capabilities, _IN_A_STEP)
                self._tried = True
        except BaseException:
            await line.close()
            await child.stop()
            raise
        if self._process:
            await self._process.server.line.close()
        self._process = _Process(child, server, set())
        return child

    def _arguments(self) -> list[str]:
        settings = {
            "served-model-name": _NAME,
            "max-model-len": self._context,
            "max-num-seqs": self._slots,
            "max-lora-rank": self._rank,
            "max-loras": _IN_A_STEP,
            "max-cpu-loras": _LOADED,
            # Not the sampling that the model's own files propose.
            "generation-config": "vllm",
            # The library that the grammars are written for, and checked with.
            "structured-outputs-config": '{"backend": "guidance"}',
        }
        given = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        return [str(self._folder), *given, "--enable-lora", *(() if _GPU.exists() else _ON_CPU)]

    def _environment(self) -> dict[str, str]:
        return {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_NO_USAGE_STATS": "1",
            # Gibibytes for a few whole contexts in float32; by default it takes a share of all memory.
            "VLLM_CPU_KVCACHE_SPACE": str(math.ceil(4 * kept(self._folder)[0] * self._context * _CONTEXTS / 2**30)),
            **({"OMP_NUM_THREADS": str(self._setup.threads)} if self._setup.threads else {}),
        }


def _as_grammar(constraint: Constraint) -> dict[str, Any]:
    """In the very words that llama.cpp is sent."""
    return {"structured_outputs": {"grammar": constraints.grammar(constraint)}}
