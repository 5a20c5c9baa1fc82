"""`/api/keys`, `/api/settings` and `/api/doctor`: who may ask, how this server is set, and what the machine can do."""

from __future__ import annotations

import asyncio
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from pumice import __version__
from pumice.api.console.shown import Row
from pumice.api.identity import Identity
from pumice.api.openai.paging import Listed, listed
from pumice.api.platform import Platform
from pumice.config import MOST_LOG_DAYS
from pumice.doctor import Examination, examine
from pumice.records import Role

PLACES = ("bases", "models", "jobs", "files", "s3", "exports", "cache")
"""Folders of a home whose sizes are told."""


class ShownKey(Row):
    """One key; its secrets cannot be had again."""

    id: str
    name: str
    role: Role
    created: datetime
    revoked: datetime | None
    access_key: str | None
    requests_per_minute: int | None
    tokens_per_day: int | None


Limit = Annotated[int, Field(ge=1, le=2**31 - 1)] | None


class KeyRequest(BaseModel):
    name: Annotated[str, Field(max_length=200)]
    role: Role = Role.INVOKE
    requests_per_minute: Limit = None
    tokens_per_day: Limit = None


class Budget(BaseModel):
    """What a key may ask of models; null for no limit."""

    requests_per_minute: Limit
    tokens_per_day: Limit


class MadeKey(BaseModel):
    """A new key with its secrets, which are shown this once."""

    key: ShownKey
    secret: str
    """For `Authorization: Bearer`."""
    access_key: str | None
    signing_secret: str
    """For SigV4, with `access_key`."""


class Used(BaseModel):
    """A folder of the home and its bytes on disk."""

    folder: str
    bytes: int


class ShownSettings(BaseModel):
    """How this server is set; the environment says it, and a restart reads it anew."""

    version: str
    home: str
    database: str
    """`SQLite` or `PostgreSQL`."""
    log_days: float
    """`PUMICE_LOG_DAYS`."""
    log_bodies: bool
    """`PUMICE_LOG_BODIES`."""
    engine: str
    """`PUMICE_ENGINE`, "" where the files decide."""
    quant: str
    """`PUMICE_QUANT`."""
    idle_seconds: float | None
    """`PUMICE_IDLE_SECONDS`, null where an engine stays."""
    disk_free_bytes: int
    used: list[Used]


class RetentionRequest(BaseModel):
    days: Annotated[int, Field(ge=1, le=MOST_LOG_DAYS)]


class ShownRetention(BaseModel):
    """How long the log keeps a request."""

    days: int
    fixed: bool
    """Whether `PUMICE_LOG_DAYS` says it, which then counts."""
    requests: int
    """How many the log holds that are older than the days in question."""


class Doctor(BaseModel):
    """The machine, what it can do, and what to mend."""

    ok: bool
    examination: Examination


def router(platform: Platform, keys: Identity) -> APIRouter:
    """The eight routes."""
    routes = APIRouter(tags=["settings"])

    def retention(days: int | None) -> ShownRetention:
        kept = platform.retention.days()
        older = platform.log.older(timedelta(days=kept if days is None else days))
        return ShownRetention(days=kept, fixed=platform.retention.fixed, requests=older)

    def keep(days: int) -> ShownRetention:
        platform.retention.keep(days)
        platform.log.keep(timedelta(days=days))
        return retention(None)

    @routes.get("/keys")
    async def list_keys() -> Listed[ShownKey]:
        """Every key, revoked ones too, the oldest first."""
        return listed([ShownKey.model_validate(key) for key in await asyncio.to_thread(keys.list)], False)

    @routes.post("/keys")
    async def create_key(asked: KeyRequest) -> MadeKey:
        """A new key. With the first one, this server asks everybody for a key."""
        made = await asyncio.to_thread(
            keys.create, asked.name, asked.role, asked.requests_per_minute, asked.tokens_per_day
        )
        shown = ShownKey.model_validate(made.key)
        return MadeKey(key=shown, secret=made.secret, access_key=shown.access_key, signing_secret=made.signing_secret)

    @routes.delete("/keys/{key_id}")
    async def revoke_key(key_id: str) -> ShownKey:
        """End a key and its sessions."""
        return ShownKey.model_validate(await asyncio.to_thread(keys.revoke, key_id))

    @routes.put("/keys/{key_id}/budget")
    async def limit_key(key_id: str, budget: Budget) -> ShownKey:
        """Give a key another budget. What it has used of this day stays used."""
        limited = await asyncio.to_thread(keys.limit, key_id, budget.requests_per_minute, budget.tokens_per_day)
        return ShownKey.model_validate(limited)

    @routes.get("/settings")
    async def get_settings() -> ShownSettings:
        """How this server is set, and what takes the disk."""
        return await asyncio.to_thread(_settings, platform)

    @routes.get("/settings/retention")
    async def get_retention(days: Annotated[int | None, Query(ge=1, le=MOST_LOG_DAYS)] = None) -> ShownRetention:
        """How long the log keeps a request, and how many are older than `days`."""
        return await asyncio.to_thread(retention, days)

    @routes.put("/settings/retention")
    async def set_retention(asked: RetentionRequest) -> ShownRetention:
        """Keep requests so long from now on; the log deletes what is older at once."""
        return await asyncio.to_thread(keep, asked.days)

    @routes.get("/doctor")
    async def doctor() -> Doctor:
        """What this machine can do, and what is wrong with its set-up."""
        found = await asyncio.to_thread(examine, platform.home)
        return Doctor(ok=found.ok, examination=found)

    return routes


def _settings(platform: Platform) -> ShownSettings:
    home, serving = platform.home, platform.home.serving
    folders = [home.root / name for name in PLACES]
    return ShownSettings(
        version=__version__,
        home=str(home.root),
        database="PostgreSQL" if home.server else "SQLite",
        log_days=platform.log.days,
        log_bodies=platform.log_bodies,
        engine=serving.engine or "",
        quant=serving.quant,
        idle_seconds=serving.idle,
        disk_free_bytes=shutil.disk_usage(home.root).free,
        used=[Used(folder=folder.name, bytes=_size(folder)) for folder in folders if folder.exists()],
    )


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
