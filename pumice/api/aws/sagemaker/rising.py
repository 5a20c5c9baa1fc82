"""Endpoints and inference components that come up: each is in service once its models have engines.

What an endpoint goes over to is kept in its document, so a server that was killed meanwhile goes on at its next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from pumice.api.aws.sagemaker import kept
from pumice.api.background import Part, Tasks
from pumice.api.platform import Platform
from pumice.errors import PumiceError

LOGGER = logging.getLogger(__name__)
ENDPOINT, COMPONENT = "endpoint", "inference-component"
RISING = ("Creating", "Updating")


class Rising(Part):
    """Those that are coming up in this server."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._tasks = platform, Tasks()

    async def start(self) -> None:
        """Go on with what a stop or a crash left."""
        for word in (ENDPOINT, COMPONENT):
            for found in await asyncio.to_thread(self._platform.documents.list, kept.kind_of(word)):
                if found.body["status"] in RISING:
                    await self.begin(word, found.name)

    async def stop(self) -> None:
        """Leave them; the next start goes on there."""
        await self._tasks.stop()

    async def begin(self, word: str, name: str) -> None:
        """Have the engines that this endpoint or component needs, then put it into service."""
        await self.leave(word, name)
        self._tasks.start(f"{word} {name}", self._endpoint(name) if word == ENDPOINT else self._component(name))

    async def leave(self, word: str, name: str) -> None:
        """Do no more for it."""
        await self._tasks.cancel(f"{word} {name}")

    async def _endpoint(self, name: str) -> None:
        found = await asyncio.to_thread(self._platform.documents.get, kept.kind_of(ENDPOINT), name)
        pending = found.body["pending"]
        failure = await self._engines(each["served"] for each in pending["variants"].values() if each["served"])
        if not failure:
            await self._change(ENDPOINT, name, status="InService", failure="", pending=None, **pending)
            return
        # What fails leaves the old variants in place.
        status = "Failed" if found.body["status"] == "Creating" else "InService"
        await self._change(ENDPOINT, name, status=status, failure=failure, pending=None)

    async def _component(self, name: str) -> None:
        found = await asyncio.to_thread(self._platform.documents.get, kept.kind_of(COMPONENT), name)
        failure = await self._engines([found.body["served"]])
        await self._change(COMPONENT, name, status="Failed" if failure else "InService", failure=failure)

    async def _engines(self, models: Iterable[str]) -> str:
        """Why there cannot be an engine for each of them; "" once there is."""
        try:
            for model in models:
                await self._platform.ready(await asyncio.to_thread(self._platform.names.find, model))
        except PumiceError as error:
            return " ".join(str(error).split())[:1024]
        except Exception as error:
            LOGGER.exception("an engine did not start")
            return f"An engine did not start: {type(error).__name__}; the server's log holds the reason."
        return ""

    async def _change(self, word: str, name: str, **changes: Any) -> None:
        if changes["failure"]:
            LOGGER.warning("%s %s: %s", kept.spoken(word), name, changes["failure"])
        await asyncio.to_thread(lambda: self._platform.documents.change(kept.kind_of(word), name, **changes))
