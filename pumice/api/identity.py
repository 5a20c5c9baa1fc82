"""The keys: who is known, and by what. Knows nothing of requests, models or engines."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy

from pumice.api.vault import Vault
from pumice.config import Home
from pumice.errors import InputError, NotFoundError
from pumice.records import Key, Role
from pumice.store import tables

MAX_AGE = 1.0
"""Seconds that a reading of the keys is good for: a key revoked by another process lives on so long."""


@dataclass(frozen=True)
class NewKey:
    """A key and its secrets, which cannot be had again."""

    key: Key
    secret: str = field(repr=False)
    """For `Authorization: Bearer`: `sk-pumice-…`."""
    signing_secret: str = field(repr=False)
    """For SigV4, with `key.access_key`."""


@dataclass(frozen=True)
class Valid:
    """The keys in force at one moment."""

    keys: Sequence[Key]
    by_access_key: Mapping[str, Key]
    read: float
    """When, on the monotonic clock."""

    def bearer(self, secret: str) -> Key | None:
        """The key with this bearer secret; every hash is compared, each in constant time."""
        presented = _hash(secret)
        matches = [key for key in self.keys if hmac.compare_digest(key.secret_sha256, presented)]
        return matches[0] if matches else None


class Identity:
    """The API keys of one home. Bearer secrets are kept as hashes, signing secrets encrypted; both are shown once."""

    def __init__(self, database: sqlalchemy.Engine, home: Home) -> None:
        self._database, self.vault = database, Vault(home)
        self._valid: Valid | None = None
        self._writes = 0
        self._lock = threading.Lock()
        self._reading: asyncio.Future[Valid] | None = None
        self._opened: dict[str, str] = {}

    def create(
        self, name: str, role: Role, requests_per_minute: int | None = None, tokens_per_day: int | None = None
    ) -> NewKey:
        """A new key with a bearer secret and a SigV4 pair. Raises `InputError` for an empty name or a limit below 1."""
        if not name.strip():
            raise InputError(
                "The key has no name.", "A key is told from others by its name.", "pumice keys create NAME"
            )
        _check_budget(requests_per_minute, tokens_per_day)
        secret, signing_secret = f"sk-pumice-{secrets.token_urlsafe(32)}", secrets.token_urlsafe(30)
        key = Key(
            id=f"key-{secrets.token_hex(4)}",
            name=name.strip(),
            role=role,
            secret_sha256=_hash(secret),
            created=datetime.now(UTC),
            access_key=f"PUMI{base64.b32encode(secrets.token_bytes(10)).decode()}",
            signing_secret=self.vault.close(signing_secret),
            requests_per_minute=requests_per_minute,
            tokens_per_day=tokens_per_day,
        )
        self._write(tables.keys.insert().values(asdict(key)))
        return NewKey(key, secret, signing_secret)

    def revoke(self, key: str) -> Key:
        """End a key, by its id or its name. Servers of other processes hear of it within a second.

        Raises `NotFoundError` when no key in force has it, `InputError` when several do.
        """
        return self._change(key, revoked=datetime.now(UTC))

    def limit(self, key: str, requests_per_minute: int | None, tokens_per_day: int | None) -> Key:
        """Give a key another budget, None for no limit. What it has used of this day stays used.

        Servers of other processes hear of it within a second. Raises as `revoke` does, and for a limit below 1.
        """
        _check_budget(requests_per_minute, tokens_per_day)
        return self._change(key, requests_per_minute=requests_per_minute, tokens_per_day=tokens_per_day)

    async def current(self) -> Valid:
        """The keys in force, as they were at most a second ago.

        What is older is read again in a thread, once, however many requests wait for it.
        """
        valid = self._valid
        if valid and time.monotonic() - valid.read < MAX_AGE:
            return valid
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(self._read))
            self._reading.add_done_callback(self._forget_reading)
        return await asyncio.shield(self._reading)

    def exist(self) -> bool:
        """Whether any key is in force."""
        return bool(self._read().keys)

    def secret_of(self, access_key: str) -> str | None:
        """The signing secret of a key in force, as of the last reading; None for an unknown access key.

        Raises `InputError` when it cannot be decrypted.
        """
        key = (self._valid or self._read()).by_access_key.get(access_key)
        if key is None or key.signing_secret is None:
            return None
        if key.signing_secret not in self._opened:
            self._opened[key.signing_secret] = self.vault.open(key.signing_secret)
        return self._opened[key.signing_secret]

    def list(self) -> Sequence[Key]:
        """All keys, revoked ones too, oldest first."""
        wanted = sqlalchemy.select(tables.keys).order_by(tables.keys.c.created, tables.keys.c.id)
        with self._database.connect() as connection:
            return [Key(**{**row, "role": Role(row["role"])}) for row in connection.execute(wanted).mappings()]

    def _change(self, key: str, **changes: Any) -> Key:
        found = [each for each in self._read().keys if key in (each.id, each.name)]
        if not found:
            raise NotFoundError(f"There is no key {key!r} in force.", fix="`pumice keys list` shows the keys.")
        if len(found) > 1:
            ids = ", ".join(each.id for each in found)
            raise InputError(f"Several keys are named {key!r}: {ids}.", fix="Name it by its id.")
        self._write(tables.keys.update().where(tables.keys.c.id == found[0].id).values(changes))
        return replace(found[0], **changes)

    def _write(self, statement: sqlalchemy.Executable) -> None:
        with self._database.begin() as connection:
            connection.execute(statement)
        with self._lock:
            self._writes += 1
            self._valid = None

    def _read(self) -> Valid:
        while True:
            writes, now = self._writes, time.monotonic()
            keys = [key for key in self.list() if key.revoked is None]
            valid = Valid(keys, {key.access_key: key for key in keys if key.access_key}, now)
            with self._lock:
                # A key that was written meanwhile may be missing here; then once more.
                if writes == self._writes:
                    self._valid = valid
                    return valid

    def _forget_reading(self, reading: asyncio.Future[Valid]) -> None:
        self._reading = None


def may_bind(host: str, keys: Identity, tls: bool) -> None:
    """Refuse to listen beyond this machine while anybody could call or listen in: `InputError` with the way out."""
    if is_loopback(host):
        return
    if not keys.exist():
        raise InputError(
            f"{host} can be reached from other machines, and no API key exists.",
            "Without a key anyone who reaches the port could use your models.",
            "Make one with `pumice keys create NAME`, or listen on 127.0.0.1.",
        )
    if not tls:
        raise InputError(
            f"{host} can be reached from other machines, and without TLS keys would cross the network in the clear.",
            fix="Add --tls (a certificate is made), or --tls-cert and --tls-key with your own; or listen on 127.0.0.1.",
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port, means this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_budget(requests_per_minute: int | None, tokens_per_day: int | None) -> None:
    for limit, value in (("requests per minute", requests_per_minute), ("tokens per day", tokens_per_day)):
        if value is not None and value < 1:
            raise InputError(f"{limit} = {value}; it must be 1 or more.", fix="Leave it out for no limit.")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
