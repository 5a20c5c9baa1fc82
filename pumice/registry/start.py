"""A model as a place to start from: the base under a registered version, or that version as a base of its own.

Does not know what is trained on top.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from pumice.bases import resolve
from pumice.bases.classifiers import check_writes
from pumice.config import Home
from pumice.engine.merge import merge
from pumice.errors import InputError
from pumice.records import Base, Model
from pumice.registry.card import ALONE
from pumice.registry.models import Registry
from pumice.store.files import sha256_folder_weights
from pumice.train.methods import Method

SOURCE = "model:"


@dataclass(frozen=True)
class Start:
    """What training begins with: a base and, where a registered adapter is continued, that adapter's folder."""

    base: Base
    adapter: Path | None = None
    parent: str | None = None
    """The registered `name@version` that this is."""


def starting_point(name: str, how: Literal["continue", "merge"] | None, registry: Registry, home: Home) -> Start:
    """Find `name`: a registered model (`continue` trains its adapter on, `merge` makes it the new base) or any base."""
    if not registry.has(name):
        if how:
            raise InputError(
                f"start: {how} needs a registered model, but model: {name} is a base.",
                fix="Leave `start` out, or name a registered version: `pumice models list`.",
            )
        base = resolve.resolve(name, home)
        check_writes(base, name)
        return Start(base)
    model = registry.find(name)
    if model.adapter and how != "merge":
        return Start(base_of(model, registry, home), model.folder, model.id)
    base = as_base(model, registry, home)
    check_writes(base, model.id)
    return Start(base, None, model.id)


def guide_of(method: Method, registry: Registry, home: Home) -> Path | None:
    """The folder of the whole model that `method` asks while it trains; None where it asks none."""
    if method.guide is None:
        return None
    if registry.has(method.guide):
        return as_base(registry.find(method.guide), registry, home).folder
    return resolve.resolve(method.guide, home).folder


def base_of(model: Model, registry: Registry, home: Home) -> Base:
    """The base that `model` was trained on. Raises `InputError` when what lies there now is another one."""
    if model.base_source.startswith(ALONE):
        # A whole model of which no base is known, or kept, stands on itself.
        base = as_base(model, registry, home)
    elif model.base_source.startswith(SOURCE):
        base = as_base(registry.find(model.base_source.removeprefix(SOURCE)), registry, home)
    else:
        base = resolve.resolve(model.base, home)
    registry.check_base(model, base)
    return base


def as_base(model: Model, registry: Registry, home: Home) -> Base:
    """The whole weights of `model` as a base named `name@version`; an adapter is merged once, in the cache.

    A merged base is known by what it was made from: its bits differ with the processor that did the sums.
    """
    if not model.adapter:
        return resolve.describe(model.folder, model.id, SOURCE + model.id)
    made_from = hashlib.sha256(f"{model.base_sha256} {sha256_folder_weights(model.folder)}".encode()).hexdigest()
    folder = home.cache / "merged" / made_from[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                merged = Path(temporary) / "merged"
                merge(base_of(model, registry, home).folder, model.folder, merged)
                merged.replace(folder)
    return resolve.describe(folder, model.id, SOURCE + model.id, made_from)
