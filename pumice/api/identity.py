"""Who may call: API keys, and the gate in front of every route. Knows nothing of models or engines."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import sqlalchemy
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pumice.api.openai.refusals import Refusal
from pumice.errors import InputError, NotFoundError
from pumice.records import Key, Role
from pumice.store import tables

OPEN_PATHS = frozenset({"/healthz"})


class Identity:
    """The API keys of one home. Only the hash of a secret is kept, so it is shown once."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def create(self, name: str, role: Role) -> tuple[Key, str]:
        """A new key and its secret, `sk-pumice-…`, which cannot be had again."""
        if not name.strip():
            raise InputError(
                "The key has no name.", "A key is told from others by its name.", "pumice keys create NAME"
            )
        secret = f"sk-pumice-{secrets.token_urlsafe(32)}"
        key = Key(f"key-{secrets.token_hex(4)}", name.strip(), role, _hash(secret), datetime.now(UTC))
        with self._database.begin() as connection:
            connection.execute(tables.keys.insert().values(asdict(key)))
        return key, secret

    def revoke(self, key: str) -> Key:
        """End a key, by its id or its name, at once.

        Raises `NotFoundError` when no key in force has it, `InputError` when several do.
        """
        found = [each for each in self._valid() if key in (each.id, each.name)]
        if not found:
            raise NotFoundError(f"There is no key {key!r} in force.", fix="`pumice keys list` shows the keys.")
        if len(found) > 1:
            ids = ", ".join(each.id for each in found)
            raise InputError(f"Several keys are named {key!r}: {ids}.", fix="Revoke by id.")
        ended = replace(found[0], revoked=datetime.now(UTC))
        with self._database.begin() as connection:
            connection.execute(tables.keys.update().where(tables.keys.c.id == ended.id).values(revoked=ended.revoked))
        return ended

    def verify(self, secret: str) -> Key | None:
        """The unrevoked key with this secret; every hash is compared, each in constant time."""
        presented = _hash(secret)
        matches = [key for key in self._valid() if hmac.compare_digest(key.secret_sha256, presented)]
        return matches[0] if matches else None

    def exist(self) -> bool:
        """Whether any key is in force."""
        return bool(self._valid())

    def _valid(self) -> Sequence[Key]:
        return [key for key in self.list() if key.revoked is None]

    def list(self) -> Sequence[Key]:
        """All keys, revoked ones too, oldest first."""
        with self._database.connect() as connection:
            rows = connection.execute(sqlalchemy.select(tables.keys).order_by(tables.keys.c.created, tables.keys.c.id))
            return [Key(row.id, row.name, Role(row.role), row.secret_sha256, row.created, row.revoked) for row in rows]


def may_bind(host: str, keys: Identity) -> None:
    """Refuse to listen beyond this machine while anybody could call: `InputError` with the way out."""
    if not is_loopback(host) and not keys.exist():
        raise InputError(
            f"{host} can be reached from other machines, and no API key exists.",
            "Without a key anyone who reaches the port could use your models.",
            "Make one with `pumice keys create NAME`, or listen on 127.0.0.1.",
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port, means this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Gate:
    """Lets a request in, or answers 401 or 403. Raises nothing for a caller's mistake.

    Beyond loopback a key is always asked for, even if the last one was revoked while the server runs.
    """

    def __init__(self, app: ASGIApp, keys: Identity, host: str) -> None:
        self._app, self._keys, self._local = app, keys, is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(scope) if scope["type"] == "http" else None
        await (refusal.response() if refusal else self._app)(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Refusal | None:
        if scope["path"] in OPEN_PATHS:
            return None
        headers = Headers(scope=scope)
        if self._local and not await asyncio.to_thread(self._keys.exist):
            return _foreign(headers)
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            return _unknown("This server asks for an API key: send `Authorization: Bearer sk-pumice-…`.")
        if await asyncio.to_thread(self._keys.verify, secret.strip()) is None:
            return _unknown("This API key is unknown or revoked. `pumice keys list` shows the valid ones.")
        return None


def _foreign(headers: Headers) -> Refusal | None:
    """Without keys only this machine may ask: a web page elsewhere can point its own name at 127.0.0.1."""
    host, origin = headers.get("host", ""), headers.get("origin")
    asked = {"Host": urlsplit(f"//{host}").hostname}
    if origin is not None:
        asked["Origin"] = urlsplit(origin).hostname
    foreign = next((header for header, name in asked.items() if not is_loopback(name or "")), None)
    if foreign is None:
        return None
    message = (
        f"{foreign} {headers[foreign]!r} is not this machine. While no API key exists, only programs here that call "
        "localhost, 127.0.0.1 or [::1] are answered. `pumice keys create NAME` makes a key."
    )
    return Refusal(403, message, code="foreign_host")


def _unknown(message: str) -> Refusal:
    return Refusal(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
