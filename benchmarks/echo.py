"""A Pumice server whose engine answers at once with what it was asked: what is left is the front itself.

    python -m benchmarks.echo --home FOLDER --port 8080 [--keys]

Everything else is real: HTTP, the gate, names, chat template, tokenizer, decoding, metrics, the request log.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn

from pumice.api.app import create_app
from pumice.api.platform import open_platform
from pumice.config import Home
from pumice.engine.contract import Capabilities, Delta, Generate, Stats, TokenLogprob
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.store.tables import open_database

PIECES = 16
"""Tokens of an answer, one a piece."""


class Echo:
    """An engine that repeats the first tokens of its prompt."""

    capabilities = Capabilities("echo", score=False, constraints=frozenset())

    alive = True

    def __init__(self, pause: float) -> None:
        self.pause = pause

    async def generate(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """One token a piece, `pause` seconds apart."""
        most = min(PIECES, request.sampling.max_tokens)
        ids = [request.ids[at % len(request.ids)] for at in range(most)]
        for at, each in enumerate(ids):
            if self.pause:
                await asyncio.sleep(self.pause)
            yield Delta((each,), finish="length" if at == most - 1 else None)

    async def score(self, ids: Sequence[int], adapter: str | None = None, top: int = 0) -> list[TokenLogprob]:
        """An echo has no likelihoods."""
        raise InputError("The echo engine does not score.")

    async def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """An echo has no vectors."""
        raise InputError("The echo engine does not embed.")

    async def classify(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """An echo has no classes."""
        raise InputError("The echo engine does not classify.")

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Nothing to load."""

    async def unload_adapter(self, name: str) -> None:
        """Nothing to unload."""

    async def stats(self) -> Stats:
        """No process of its own."""
        return Stats(0, 0, 0, ())

    async def stop(self) -> None:
        """Nothing to end."""


class EchoPool(Pool):
    """A pool in which every model is an echo."""

    def __init__(self, cache: Path, pause: float) -> None:
        super().__init__(cache)
        self._echo = Echo(pause)

    async def get(self, folder: Path) -> Echo:
        """The echo."""
        return self._echo

    async def ensure(self, folder: Path, name: str, adapter: Path) -> Echo:
        """The echo."""
        return self._echo


def main(home: Home, port: int, pause: float) -> None:
    """Serve until the process is ended."""
    platform = replace(open_platform(home, open_database(home.database)), pool=EchoPool(home.cache, pause))
    uvicorn.run(create_app(platform, "127.0.0.1"), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two tokens")
    given = parser.parse_args()
    main(Home(given.home), given.port, given.pause)
