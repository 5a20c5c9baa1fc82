"""The parent's end: starts an engine process, speaks llama-server's `/completion` with it, and ends it for certain.

This module knows neither which engine answers nor what an adapter is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil

from pumice.engine.contract import Delta, Generate
from pumice.engine.post import Lost, post
from pumice.engine.wire import Answer, body
from pumice.errors import InputError, UnavailableError

_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
BEHIND = 10
"""Niceness of engines that answer on demand: behind reserved ones at 0, in front of trainers at 19."""
CALM = {"GOMP_SPINCOUNT": "2000"}
"""How long threads that wait for each other spin before they sleep. By default they take the core from the very thread
that they wait for: on two loaded cores 2 tokens a second instead of 10 to 20; alone, this costs about 5 %."""


class Child:
    """One engine process. Made by `Child.start`."""

    def __init__(self, title: str, process: asyncio.subprocess.Process, log: Path, socket: Path) -> None:
        self.title = title
        self.running = 0
        """Answers under way."""
        self._process = process
        self._log = log
        self.socket = socket
        self._lost = False
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, module: str, orders: Mapping[str, Any], title: str, logs: Path, nice: int = BEHIND) -> Child:
        """Run `python -m module ORDERS` until it says that it is ready.

        `title` names it in messages; `nice` is how far it stands back.
        Raises UnavailableError with the last line of its log when it ends before.
        """
        logs.mkdir(parents=True, exist_ok=True)
        # In a folder of our own: no other user reaches it, and it works where even loopback is down.
        socket = Path(tempfile.mkdtemp(prefix="pumice-")) / "engine.sock"
        handle, log = tempfile.mkstemp(prefix=f"{module.rpartition('.')[2]}-", suffix=".log", dir=logs)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # A file of the user's folder must not stand in for a library.
                "-m",
                module,
                json.dumps({**orders, "socket": str(socket), "nice": nice}),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=handle,
                env={**CALM, **os.environ, "HF_HUB_OFFLINE": "1"},
            )
        finally:
            os.close(handle)
        child = cls(title, process, Path(log), socket)
        try:
            await child._wait_until_ready()
        except BaseException:
            await child.stop()
            raise
        return child

    async def _wait_until_ready(self) -> None:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            raise UnavailableError(f"{self.title} did not start.", self._last_words(), self._advice())

    @property
    def alive(self) -> bool:
        """Whether the process runs, answers, and nobody has asked it to end."""
        return self._process.returncode is None and not self._lost and self._ending is None

    @property
    def pid(self) -> int:
        """Of the process, also after its end."""
        return self._process.pid

    def rss_bytes(self) -> int:
        """Memory that the process holds now. Raises UnavailableError when it is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess as error:
            raise self.gone() from error

    async def complete(
        self, request: Generate, ids_allowed: int, extra: Mapping[str, Any]
    ) -> AsyncGenerator[Delta, None]:
        """Stream one answer of at most `ids_allowed` tokens; `extra` says which adapter. Closing it early cancels."""
        asked = {**body(request, ids_allowed), **extra}
        answer = Answer()
        self.running += 1
        try:
            async with post(self.socket, "/completion", asked) as response:
                if response.status != 200:
                    raise _refused(self.title, response.status, await response.read())
                async with aclosing(response.lines()) as lines:
                    async for line in lines:
                        if line.startswith(b"data: "):
                            event = json.loads(line[6:])
                            if "error" in event:
                                raise UnavailableError(f"{self.title} failed.", str(event["error"].get("message")))
                            for delta in answer.read(event):
                                yield delta
            if not answer.finished:
                raise self.gone()
        except Lost as error:
            raise self.gone() from error
        finally:
            self.running -= 1

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """One question outside of generation. Raises InputError when it is refused, UnavailableError when gone."""
        try:
            async with post(self.socket, path, body) as response:
                content = await response.read()
        except Lost as error:
            raise self.gone() from error
        if response.status != 200:
            raise _refused(self.title, response.status, content)
        return json.loads(content)

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL after some seconds. Whoever calls it twice waits for the same end."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        crashed = self._process.returncode is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _GRACE)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        # A process that was killed may leave others behind, which are of its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._process.stdin:
            self._process.stdin.close()
        shutil.rmtree(self.socket.parent, ignore_errors=True)
        if not crashed:
            self._log.unlink(missing_ok=True)

    def gone(self) -> UnavailableError:
        """What to raise when it does not answer any more."""
        self._lost = True
        if self._ending is not None:
            return UnavailableError(f"{self.title} was stopped during the answer.", "", "Ask again.")
        return UnavailableError(f"{self.title} ended during the answer.", self._last_words(), self._advice())

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "It left no message.")

    def _advice(self) -> str:
        return f"Ask again; if it stays so, the whole log is in {self._log}."


def _refused(title: str, status: int, content: bytes) -> InputError | UnavailableError:
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = content.decode(errors="replace")
    if status == 400:
        return InputError(f"{title} refused the request.", message)
    return UnavailableError(f"{title} answered with status {status}.", message)
