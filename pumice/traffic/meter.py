"""What a key may use: requests a minute, tokens a day. Knows no request and no wire.

The counts lie in the memory of one server; a day's tokens are read from the request log when it starts. Servers that
share a database would each allow the whole budget.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy

from pumice.errors import ExhaustedError
from pumice.records import Key
from pumice.store import tables


def utc_now() -> datetime:
    """The clock that days and minutes are counted by."""
    return datetime.now(UTC)


class Meter:
    """Counts what keys use. A request that is under way is never cut: the next one is refused. Any thread may call."""

    def __init__(self, database: sqlalchemy.Engine, now: Callable[[], datetime] = utc_now) -> None:
        self._now, self._lock = now, threading.Lock()
        self._left: dict[str, tuple[float, datetime]] = {}  # requests that a key may send at once, and since when
        self._day = now().date()
        self._spent = _spent_on(database, self._day)

    def admit(self, key: Key | None) -> None:
        """Count one request. Raises `ExhaustedError`, with the seconds to wait, when the key has used up its share."""
        if key is None:
            return
        with self._lock:
            now = self._now()
            self._turn_day(now)
            if key.tokens_per_day is not None and self._spent.get(key.id, 0) >= key.tokens_per_day:
                midnight = datetime.combine(self._day + timedelta(days=1), time(), UTC)
                raise ExhaustedError(
                    f"The key {key.name!r} has used its {key.tokens_per_day:,} tokens of this day (UTC).",
                    fix=f"Ask again after {midnight:%Y-%m-%d %H:%M} UTC, or with a key of a larger budget.",
                    seconds=_whole((midnight - now).total_seconds()),
                )
            if key.requests_per_minute is not None:
                self._take_one(key, key.requests_per_minute, now)

    def spend(self, key: Key | None, tokens: int) -> None:
        """Count the tokens of a request, prompt and answer, however it ended."""
        if key is None:
            return
        with self._lock:
            self._turn_day(self._now())
            self._spent[key.id] = self._spent.get(key.id, 0) + tokens

    def _take_one(self, key: Key, rate: int, now: datetime) -> None:
        # A bucket of one minute's requests, refilled evenly: a burst is fine, the mean is not exceeded.
        left, since = self._left.get(key.id, (float(rate), now))
        passed = max(0.0, (now - since).total_seconds())
        left = min(float(rate), left + passed * rate / 60)
        if left < 1:
            seconds = _whole((1 - left) * 60 / rate)
            raise ExhaustedError(
                f"The key {key.name!r} may send {rate:,} requests a minute.",
                fix=f"Ask again in {seconds} s.",
                seconds=seconds,
            )
        self._left[key.id] = (left - 1, now)

    def _turn_day(self, now: datetime) -> None:
        if now.date() != self._day:
            self._day, self._spent = now.date(), {}


def _spent_on(database: sqlalchemy.Engine, day: date) -> dict[str, int]:
    """Tokens by key of the requests logged on that day, UTC."""
    log, start = tables.requests.c, datetime.combine(day, time(), UTC)
    tokens = sqlalchemy.func.sum(log.input_tokens + log.output_tokens)
    wanted = sqlalchemy.select(log.key, tokens).where(
        log.key.is_not(None), log.at >= start, log.at < start + timedelta(days=1)
    )
    with database.connect() as connection:
        return {key: int(spent) for key, spent in connection.execute(wanted.group_by(log.key))}


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
