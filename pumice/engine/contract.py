"""What every engine does: token ids in, token ids out. An engine knows no text, no chat template and no HTTP client.

One engine serves one base (or one whole tuned model) and any number of LoRA adapters over it, by name per request.
It runs as a child process behind a socket of its own, so that its crash never takes the caller down.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pumice.config import Quant

CONTEXT = 4096
"""Tokens that prompt and answer may have together, on bases that see as many: memory is taken for it when it starts."""


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do; callers choose by these, never by the engine's name."""

    name: str
    score: bool
    """Can return the log-likelihood of given ids."""
    constraints: frozenset[str]
    """Kinds of `Constraint` that an answer can be held to."""
    embed: bool = False
    """Can turn texts into vectors."""
    classify: bool = False
    """Can name classes or give scores; such an engine does nothing else."""
    mixed: bool = False
    """Requests with different adapters and without any may share a step; otherwise each kind waits for its turn."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """Only the most likely are drawn from; 0 means all."""
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int = 0
    """How many alternatives to report a token; 0 reports none."""


@dataclass(frozen=True)
class Constraint:
    """What an answer must look like: JSON that follows a schema, or text of a Lark grammar in llguidance's dialect."""

    kind: Literal["json_schema", "lark"]
    text: str
    loose: bool = False
    """An engine that cannot hold answers to it answers freely: whoever reads them checks them."""


@dataclass(frozen=True)
class Generate:
    """One request. `adapter` None means the bare base, always."""

    ids: Sequence[int]
    sampling: Sampling = Sampling()
    adapter: str | None = None
    constraint: Constraint | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """A chosen token with its log-probability and the most likely alternatives, best first."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of an answer. The stop token itself is not among `ids`."""

    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Literal["stop", "length"] | None = None
    """Set on the last piece: the model stopped by itself, or the token limit was met."""


@dataclass(frozen=True)
class Stats:
    """What an engine says of itself."""

    pid: int
    rss_bytes: int
    running: int
    adapters: tuple[str, ...]


class Engine(Protocol):
    """A running engine. Raises `UnavailableError` when its process is gone; leaving `generate` early cancels."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def alive(self) -> bool:
        """Whether it runs now; the next request starts one that does not."""
        ...

    def generate(self, request: Generate) -> AsyncGenerator[Delta, None]: ...

    async def score(self, ids: Sequence[int], adapter: str | None = None, top: int = 0) -> list[TokenLogprob]:
        """Each id but the first with its log-probability given those before it, in nats, and `top` alternatives."""
        ...

    async def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector of length 1 a text: the mean of what the base makes of its tokens."""
        ...

    async def classify(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """One list a text: the probability of each class, or the one score of a model that has no classes."""
        ...

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Make a peft LoRA folder answer to `name`; requests under way are not disturbed."""
        ...

    async def unload_adapter(self, name: str) -> None: ...

    async def stats(self) -> Stats: ...

    async def stop(self) -> None:
        """End the child process; idempotent."""
        ...


@dataclass(frozen=True)
class Setup:
    """What an engine is started with besides its model; each takes from it what it knows."""

    cache: Path
    """Converted weights and logs."""
    threads: int | None = None
    """By default one a physical core."""
    idle: float | None = None
    """Seconds without a request after which its process ends; None keeps it."""
    slots: int | None = None
    """Answers at once; by default the engine's own number."""
    favour: bool = False
    """Whether an adapter that is asked for most may get a process of its own, whose answers round otherwise."""
    nice: int = 10
    """How far its process stands back."""
    quant: Quant = "q8_0"
    """Precision of weights that are converted."""
    url: str | None = None
    """Where it runs already."""
    key: str | None = field(default=None, repr=False)
    """What that server asks for."""


@dataclass(frozen=True)
class Kind:
    """One engine of the table in `pool.py`."""

    name: str
    start: Callable[[Path, Setup], Awaitable[Engine]]
    why_not: Callable[[Path, Path | None], str | None]
    """Why it cannot run the model in a folder, or with an adapter, by their files, as half a sentence; or None."""
    memory: Callable[[Path, int, Setup], int]
    """Bytes that it takes for a model with so many answers at once."""
    label: Callable[[Setup], str]
    """What a record calls it: its name with all that changes its answers."""
