"""The log of requests: written beside them, never in their way, and read back newest first.

Does not know what a request is about, nor who may read the log.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Engine, Text, and_, cast, delete, func, insert, or_, select

from pumice.records import Request
from pumice.store.tables import requests

BATCH = 500
"""Rows a transaction."""
GATHER_SECONDS = 0.2
"""How long a row waits for others to be written with it."""
CLEAN_SECONDS = 60.0
"""How often rows that are too old are looked for."""
CLEAN_ROWS = 5_000
"""Rows that one transaction deletes, so that nobody waits long for it."""
CLOSE_SECONDS = 10.0
MOST_BYTES = 64 * 2**20
"""Bodies that may wait at once."""
MOST_BODY = 2**20
BODIES = ("request", "response")
MOST_TEXT = 1_000
"""Characters of a word that a caller chose, such as the name of a model."""

logger = logging.getLogger(__name__)


class Log:
    """The requests of one home. A thread writes what `add` was given; when it cannot keep up, rows are dropped."""

    def __init__(self, database: Engine, retention: timedelta, size: int = 10_000) -> None:
        self.dropped = 0
        """Requests that were not written: too many waited, or the database failed."""
        self._database, self._retention, self._size = database, retention, size
        self._waiting: deque[tuple[Request, int]] = deque()
        self._bytes = 0
        self._added = self._done = 0
        self._hurry = self._closed = self._failing = False
        self._cleaned = float("-inf")
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="request log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that are not written yet."""
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """Take one to be written; never waits for the database. The bodies must not be changed any more."""
        request, size = fitted(request)
        with self._changed:
            if self._closed or len(self._waiting) >= self._size or self._bytes + size > MOST_BYTES:
                self.dropped += 1
                return
            self._waiting.append((request, size))
            self._bytes += size
            self._added += 1
            if len(self._waiting) in (1, BATCH):
                self._changed.notify_all()

    @property
    def days(self) -> float:
        """How long it keeps a request."""
        return self._retention / timedelta(days=1)

    def keep(self, retention: timedelta) -> None:
        """Keep requests so long from now on; what is older is deleted at once."""
        with self._changed:
            self._retention, self._cleaned = retention, float("-inf")
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything that was added so far is written or dropped."""
        with self._changed:
            goal = self._added
            self._hurry = goal > self._done
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done >= goal or not self._thread.is_alive())

    def close(self) -> None:
        """Write what waits, and end; idempotent. What is added later is dropped. Waits no longer than 10 seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def find(
        self,
        limit: int,
        before: str | None = None,
        model: str | None = None,
        key: str | None = None,
        status: int | None = None,
        contains: str | None = None,
        variant: str | None = None,
        bodies: bool = True,
    ) -> tuple[Request, ...]:
        """The newest `limit` requests that fit, newest first.

        `before` is the id of the last one on the page before. `model` is what answered, `key` the id of the caller's,
        and `contains` is looked for in both bodies, in upper or lower case; they are read only if `bodies` says so.
        """
        columns = [column for column in requests.c if bodies or column.name not in BODIES]
        wanted = select(*columns).order_by(requests.c.at.desc(), requests.c.id.desc()).limit(limit)
        log = requests.c
        for column, value in ((log.model, model), (log.key, key), (log.status, status), (log.variant, variant)):
            if value is not None:
                wanted = wanted.where(column == value)
        if contains:
            wanted = wanted.where(
                or_(_mentions(requests.c.request, contains), _mentions(requests.c.response, contains))
            )
        with self._database.connect() as connection:
            if before is not None:
                last = connection.execute(select(requests.c.at).where(requests.c.id == before)).scalar_one_or_none()
                if last is None:
                    # It was too old to be kept, and so is everything before it.
                    return ()
                same = and_(requests.c.at == last, requests.c.id < before)
                wanted = wanted.where(or_(requests.c.at < last, same))
            return tuple(Request(**row) for row in connection.execute(wanted).mappings())

    def get(self, id: str) -> Request | None:
        """One request with its bodies, None when there is none any more."""
        with self._database.connect() as connection:
            row = connection.execute(select(requests).where(requests.c.id == id)).mappings().one_or_none()
        return Request(**row) if row else None

    def older(self, retention: timedelta) -> int:
        """How many requests would go if they were kept so long."""
        wanted = select(func.count()).select_from(requests).where(requests.c.at < datetime.now(UTC) - retention)
        with self._database.connect() as connection:
            return int(connection.execute(wanted).scalar_one())

    def _write(self) -> None:
        """The thread's life: clean up when it is time, gather a batch, write it."""
        while True:
            if self._unclean():
                self._cleaned = time.monotonic()
                self._try(self._clean)
            batch = self._gather()
            if not batch and self._closed:
                return
            rows = [vars(request) for request, _ in batch]
            written = not rows or self._try(lambda rows=rows: self._insert(rows))  # type: ignore[misc]
            with self._changed:
                self._bytes -= sum(size for _, size in batch)
                self._done += len(batch)
                self.dropped += 0 if written else len(batch)
                self._hurry = self._hurry and self._done < self._added
                self._changed.notify_all()

    def _unclean(self) -> bool:
        return time.monotonic() - self._cleaned >= CLEAN_SECONDS

    def _gather(self) -> list[tuple[Request, int]]:
        """The next rows; none after a minute without any, or when the log is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or self._unclean(), CLEAN_SECONDS)
            if self._waiting:
                self._changed.wait_for(
                    lambda: self._hurry or self._closed or len(self._waiting) >= BATCH, GATHER_SECONDS
                )
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _try(self, work: Callable[[], None]) -> bool:
        """Whether it could be done. What went wrong is told once, until something goes right again."""
        try:
            work()
        except Exception as error:
            if not self._failing:
                logger.exception("The request log cannot be written; requests go on unlogged: %s", error)
            self._failing = True
            return False
        self._failing = False
        return True

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        with self._database.begin() as connection:
            connection.execute(insert(requests), rows)

    def _clean(self) -> None:
        """Delete what is older than it is kept."""
        old = requests.c.at < datetime.now(UTC) - self._retention
        some = select(requests.c.id).where(old).limit(CLEAN_ROWS)
        deleted = CLEAN_ROWS
        while deleted == CLEAN_ROWS:
            with self._database.begin() as connection:
                deleted = connection.execute(delete(requests).where(requests.c.id.in_(some))).rowcount


def fitted(request: Request) -> tuple[Request, int]:
    """The request as it is kept, with the bytes of its bodies."""
    asked, first = _fitted(request.request)
    answered, second = _fitted(request.response)
    return replace(request, asked=_plain(request.asked), request=asked, response=answered), first + second


def _fitted(body: Any) -> tuple[Any, int]:
    """A body that may be kept, and its bytes; a large one only says how large it was."""
    if body is None:
        return None, 0
    try:
        size = len(orjson.dumps(body))
    except TypeError as error:
        return {"omitted": str(error)}, 0
    return (body, size) if size <= MOST_BODY else ({"truncated": True, "bytes": size}, 0)


def _plain(text: str) -> str:
    """Text that every database takes: PostgreSQL has no NUL, neither has halves of a surrogate pair."""
    return text[:MOST_TEXT].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _mentions(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    # Bodies are kept as ASCII: other characters are escaped there, and so here.
    return cast(column, Text).icontains(json.dumps(text)[1:-1], autoescape=True)
