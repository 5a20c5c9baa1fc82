"""Exports that run beside the requests: a large model takes minutes. Knows no routes."""

from __future__ import annotations

from pathlib import Path

from pumice.api.background import Part, Tasks
from pumice.api.platform import Platform
from pumice.errors import ConflictError, PumiceError
from pumice.records import Model
from pumice.registry.export import SAFETENSORS, check, export
from pumice.registry.start import base_of


class Exports(Part):
    """The exports of one server that are under way, and why others failed."""

    def __init__(self, platform: Platform) -> None:
        self._platform, self._tasks = platform, Tasks()
        self._failures: dict[tuple[str, str], str] = {}

    def begin(self, model: Model, format: str) -> None:
        """Write a model in another form from now on. Raises `InputError` where that cannot be done."""
        name = f"export of {model.id} as {format}"
        if self._tasks.runs(name):
            raise ConflictError(f"The {name} is under way.", fix="Wait for it.")
        out = self.place(model, format)
        base = base_of(model, self._platform.registry, self._platform.home)
        check(model, base, format, out)
        self._failures.pop((model.id, format), None)
        self._tasks.start(name, self._work(model, format, out))

    def running(self, model: Model, formats: tuple[str, ...]) -> list[str]:
        """The formats that are being written."""
        return [format for format in formats if self._tasks.runs(f"export of {model.id} as {format}")]

    def failures(self, model: Model) -> dict[str, str]:
        """Why a format could not be written, by format."""
        return {format: why for (id, format), why in self._failures.items() if id == model.id}

    def place(self, model: Model, format: str) -> Path:
        """Where it comes to lie."""
        suffix = "" if format == SAFETENSORS else ".gguf"
        name = f"{model.name}-{model.version}-{format.removeprefix('gguf-')}{suffix}"
        return self._platform.home.root / "exports" / name

    async def stop(self) -> None:
        """What is not whole by then is gone."""
        await self._tasks.stop()

    async def _work(self, model: Model, format: str, out: Path) -> None:
        registry, home = self._platform.registry, self._platform.home
        try:
            await export(model, base_of(model, registry, home), format, out, self._platform.pool, registry)
        except PumiceError as error:
            self._failures[model.id, format] = " ".join(str(error).split())
        except Exception:
            self._failures[model.id, format] = "The server failed; its log holds the reason."
            raise
