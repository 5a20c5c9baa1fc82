"""The favourite adapter of an engine, merged into its base, in a process of its own: it answers as fast as the base.

It is made beside the answers, and goes when the traffic turns or ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from pumice.engine.child import Child
from pumice.engine.favourite import Favourite
from pumice.engine.gguf import Quant
from pumice.engine.keeper import Keeper
from pumice.engine.turns import Turns
from pumice.errors import UnavailableError

LOGGER = logging.getLogger("pumice")


@dataclass(frozen=True)
class Source:
    """Where a favourite is made from."""

    base: Path
    adapter: Path
    quant: Quant


class Merged:
    """At most one adapter at a time, known by its converted file."""

    def __init__(
        self,
        turns: Turns,
        source: Callable[[Path], Source],
        start: Callable[[Path], Awaitable[Child]],
        fits: Callable[[], bool],
        idle: float | None,
    ) -> None:
        """`turns` are the engine's, `start` runs a whole model from a file, `fits` says whether memory has room."""
        self._turns, self._source, self._start, self._fits, self._idle = turns, source, start, fits, idle
        self._favourite = Favourite()
        self._held: Path | None = None
        """The adapter that was chosen last, whether or not it could be merged."""
        self._keeper: Keeper | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def child(self) -> Child | None:
        """The process, if one runs."""
        return self._keeper.child if self._keeper and self._keeper.alive else None

    def keeper(self, adapter: Path | None) -> Keeper | None:
        """Who has the merged adapter. To be asked within its turn, and what it gives used within it, too."""
        return self._keeper if self._keeper and self._keeper.alive and adapter == self._held else None

    def count(self, adapter: Path | None) -> None:
        """One more request is for this adapter, or None for the base; what follows from it happens beside it."""
        if self._stopped:
            return
        if self._keeper and not self._keeper.alive:
            # Nobody asked for a while, or it crashed: it has to earn its memory again.
            self._favourite.forget()
        self._favourite.count(adapter)
        if self._favourite.chosen != self._held and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End the process, and what is being made."""
        self._stopped = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._keeper:
            await self._keeper.stop()

    async def _follow(self) -> None:
        """Give up the one that is held, and have the chosen one."""
        chosen = self._favourite.chosen
        assert chosen is None or isinstance(chosen, Path)
        if self._keeper:
            # A turn of its own: no answer of the one that goes is under way then.
            async with self._turns.seat(object()):
                await self._keeper.stop()
                self._keeper = None
        self._held = chosen
        if chosen is None:
            return
        source = self._source(chosen)
        if not self._fits():
            LOGGER.info("%s is asked for most and stays unmerged: memory has no room for it.", source.adapter)
            return
        try:
            self._keeper = await self._made(source, chosen.with_name(f"{chosen.stem}-merged-{source.quant}.gguf"))
        except (OSError, UnavailableError) as error:
            LOGGER.warning("%s is asked for most and stays unmerged: %s", source.adapter, error)

    async def _made(self, source: Source, file: Path) -> Keeper:
        title = f"The merged {source.adapter.name}"
        if not file.is_file():
            # A whole model is large: of one base only the last favourite is kept.
            for old in file.parent.glob(f"{file.name.partition('-')[0]}-*-merged-*.gguf"):
                old.unlink(missing_ok=True)
            await _merge(title, source, file)
        keeper = Keeper(title, lambda: self._start(file), self._idle)
        try:
            await keeper.open()
        except BaseException:
            await keeper.stop()
            raise
        return keeper


async def _merge(title: str, source: Source, out: Path) -> None:
    """Write the file, in a process that stands back. Raises UnavailableError with its last line when it fails."""
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=out.parent, ignore_cleanup_errors=True) as folder:
        orders = {"base": str(source.base), "adapter": str(source.adapter), "folder": folder, "out": str(out)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # A file of the user's folder must not stand in for a library.
            "-m",
            "pumice.engine.merged_child",
            json.dumps({**orders, "quant": source.quant}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, told = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode:
        lines = told.decode(errors="replace").strip().splitlines()
        raise UnavailableError(f"{title} could not be made.", lines[-1] if lines else "It left no message.")
