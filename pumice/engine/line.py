"""A connection with a server that answers JSON over HTTP, behind a URL or a socket. Knows no engine and no process."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import httpx

from pumice.errors import InputError, PumiceError, UnavailableError

NEVER = httpx.Timeout(None, connect=10.0)
"""A long prompt may take minutes before its first token; a server that is gone closes the connection by itself."""
_OURS = (400, 404, 422)
"""Statuses that say that the question was wrong."""


class Line:
    """One server. `gone` says what to raise when it does not answer, from the reason."""

    def __init__(self, http: httpx.AsyncClient, title: str, gone: Callable[[str], UnavailableError]) -> None:
        self.title, self.running = title, 0
        """Answers under way."""
        self._http, self._gone = http, gone

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The server-sent events of one answer until `[DONE]`; leaving early cancels it. Raises as `ask` does."""
        self.running += 1
        try:
            async with self._http.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    raise self._refused(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data: "):
                        event = json.loads(line[6:])
                        if "error" in event:
                            raise self._refused(int(event["error"].get("code") or 500), line[6:].encode())
                        yield event
            raise self._gone("It ended in the middle of an answer.")
        except httpx.TransportError as error:
            raise self._gone(str(error) or type(error).__name__) from error
        finally:
            self.running -= 1

    async def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to one question, a GET where there is no body.

        Raises InputError when it is refused, UnavailableError when it cannot be had.
        """
        try:
            response = await self._http.request("GET" if body is None else "POST", path, json=body)
        except httpx.TransportError as error:
            raise self._gone(str(error) or type(error).__name__) from error
        if response.status_code != 200:
            raise self._refused(response.status_code, response.content)
        try:
            return response.json()
        except ValueError:
            return response.text

    async def close(self) -> None:
        """Give the connection up."""
        await self._http.aclose()

    def _refused(self, status: int, content: bytes) -> PumiceError:
        try:
            told = json.loads(content)["error"]
            message = str(told["message"] if isinstance(told, dict) else told)
        except (ValueError, KeyError, TypeError):
            message = content.decode(errors="replace")[:300]
        if status in _OURS:
            return InputError(f"{self.title} refused the request.", message)
        if status in (401, 403):
            return UnavailableError(f"{self.title} lets nobody in without its key.", message, "Set PUMICE_ENGINE_KEY.")
        return UnavailableError(f"{self.title} answered with status {status}.", message, "Ask again later.")
