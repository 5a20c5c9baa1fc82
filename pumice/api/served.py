"""A model's name to what answers it: engine folder, adapter, renderer. Knows no HTTP and no text."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pumice.api.openai.refusals import near
from pumice.bases import resolve
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.contract import Engine
from pumice.engine.pool import Pool
from pumice.errors import InputError, NotFoundError, UnavailableError
from pumice.records import Base, Model, Stage
from pumice.registry.card import ALONE
from pumice.registry.models import Registry
from pumice.registry.start import as_base, base_of

FRESH_SECONDS = 1.0
"""How long a new version, or another stage, may go unnoticed under a name that is asked for all the time."""


@dataclass(frozen=True)
class Served:
    """What a name stands for now."""

    id: str
    """`name@version`, or a base's id: what the response names as its model."""
    base: Base
    """The weights that the engine loads; for a full fine-tune those of the model itself."""
    renderer: Renderer
    adapter: Model | None
    variant: str | None = None
    """Which of an endpoint's variants this is."""
    lane: str | None = None
    """The id of the capacity that is kept for it, if any is."""

    async def ready(self, pool: Pool) -> Engine:
        """The running engine with this model loaded. Raises `UnavailableError` when it cannot start now."""
        if self.adapter is None:
            return await pool.get(self.base.folder)
        return await pool.ensure(self.base.folder, self.adapter.id, self.adapter.folder)


class Names:
    """The names that answer: every registered one, every version, and the bases under them. All of it blocks."""

    def __init__(self, registry: Registry, home: Home) -> None:
        self._registry, self._home = registry, home
        self._versions: dict[str, Served] = {}
        self._found: dict[str, tuple[float, Served]] = {}
        self._renderers: dict[Path, Renderer] = {}
        self._lock, self._reading = threading.Lock(), threading.Lock()

    def find(self, name: str) -> Served:
        """What `name` stands for, prepared on first use. Raises `NotFoundError` with near names for an unknown one.

        Only names that are registered or lie under a registered model are looked at, never a path that a caller sends.
        An answer holds for `FRESH_SECONDS`: the records are not read for every request.
        """
        known = self._found.get(name)
        if known is None or time.monotonic() - known[0] > FRESH_SECONDS:
            self._found.pop(name, None)
            known = self._found[name] = (time.monotonic(), self._look_up(name))
        return known[1]

    def _look_up(self, name: str) -> Served:
        if self._registry.has(name):
            return self._version(self._registry.find(name))
        if name in self.bases():
            return self._base(name)
        raise self.unknown(name)

    def unknown(self, name: str) -> NotFoundError:
        """What to say of a name that does not answer."""
        return NotFoundError(
            f"The model {name!r} does not exist.{near(name, self.all())}", fix="GET /v1/models lists what answers."
        )

    def all(self) -> dict[str, int]:
        """Every name that answers, with the Unix time when it was registered, 0 for a base."""
        models = self._registry.list()
        versions = {model.id: int(model.created.timestamp()) for model in models}
        alone = {model.name for model in models if model.stage is not Stage.ARCHIVED}
        newest = {name: versions[self._registry.find(name).id] for name in sorted(alone)}
        return dict.fromkeys(self.bases(), 0) | newest | versions

    def bases(self) -> list[str]:
        """The default base, and the base of everything registered."""
        # What stands on itself has no base that anything else could ask.
        under = {model.base for model in self._registry.list() if not model.base_source.startswith(ALONE)}
        return sorted({resolve.DEFAULT, *under})

    def _version(self, model: Model) -> Served:
        # A version never changes once it is registered, so what was prepared stays true.
        if model.id not in self._versions:
            with self._lock:
                self._versions[model.id] = self._versions.get(model.id) or self._prepare(model)
        return self._versions[model.id]

    def _prepare(self, model: Model) -> Served:
        if not model.adapter:
            base = as_base(model, self._registry, self._home)
            return Served(model.id, base, self._renderer(base), None)
        try:
            base = base_of(model, self._registry, self._home)
        except NotFoundError as error:
            raise UnavailableError(
                f"{model.id} cannot answer: its base {model.base} is gone.", error.why, error.fix
            ) from error
        if base.template_sha256 != model.template_sha256:
            raise InputError(
                f"{model.id} was trained with another chat template than {base.name} has now.",
                "With another template it would be asked in a form that it never saw.",
                f"Put back {model.folder / 'chat_template.jinja'} into the base, or train again.",
            )
        return Served(model.id, base, self._renderer(base), model)

    def _base(self, name: str) -> Served:
        base = resolve.resolve(name, self._home)
        return Served(name, base, self._renderer(base), None)

    def _renderer(self, base: Base) -> Renderer:
        with self._reading:
            if base.folder not in self._renderers:
                self._renderers[base.folder] = Renderer(base.folder)
            return self._renderers[base.folder]
