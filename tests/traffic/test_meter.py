"""Budgets: a minute's requests, a day's tokens, and what a restart remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy

from pumice.config import Home
from pumice.errors import ExhaustedError
from pumice.records import Key, Request, Role
from pumice.store import tables
from pumice.store.tables import open_database
from pumice.traffic.meter import Meter


class Clock:
    """A clock that goes on when it is told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def database(home: Home) -> sqlalchemy.Engine:
    home.root.mkdir()
    return open_database(home.database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def key(name: str = "laptop", requests_per_minute: int | None = None, tokens_per_day: int | None = None) -> Key:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    return Key(f"key-{name}", name, Role.INVOKE, name, made, None, None, None, requests_per_minute, tokens_per_day)


def admitted(meter: Meter, who: Key, times: int) -> int:
    """How many of so many requests in a row are let in."""
    count = 0
    for _ in range(times):
        try:
            meter.admit(who)
        except ExhaustedError:
            continue
        count += 1
    return count


def test_a_minutes_requests_at_once_and_then_evenly(database: sqlalchemy.Engine, clock: Clock) -> None:
    meter, who = Meter(database, clock), key(requests_per_minute=6)
    assert admitted(meter, who, 10) == 6
    with pytest.raises(ExhaustedError, match="'laptop' may send 6 requests a minute") as refusal:
        meter.admit(who)
    assert refusal.value.seconds == 10
    clock.pass_(seconds=9)
    assert admitted(meter, who, 10) == 0
    clock.pass_(seconds=1)
    assert admitted(meter, who, 10) == 1
    clock.pass_(hours=1)
    assert admitted(meter, who, 10) == 6
    assert admitted(meter, key("other", requests_per_minute=2), 10) == 2
    assert admitted(meter, key("free"), 1000) == 1000


def test_a_days_tokens_and_the_next_day(database: sqlalchemy.Engine, clock: Clock) -> None:
    meter, who = Meter(database, clock), key(tokens_per_day=100)
    meter.admit(who)
    meter.spend(who, 99)
    meter.admit(who)
    meter.spend(who, 500)  # what is under way is not cut
    with pytest.raises(ExhaustedError, match=r"used its 100 tokens of this day \(UTC\)") as refusal:
        meter.admit(who)
    assert refusal.value.seconds == 2 * 3600
    assert "2026-03-02 00:00 UTC" in str(refusal.value)
    meter.admit(key("other", tokens_per_day=1))
    clock.pass_(hours=2)
    meter.admit(who)


def test_a_restart_remembers_the_day(database: sqlalchemy.Engine, clock: Clock) -> None:
    def log(request: str, at: datetime, who: str | None, tokens: int) -> None:
        entry = Request(request, at, who, "chat", "faq", "faq@1", None, 200, tokens - 10, 10, None, 0.1)
        with database.begin() as connection:
            connection.execute(tables.requests.insert().values(vars(entry)))

    log("yesterday", clock.now - timedelta(hours=23), "key-laptop", 1000)
    log("first", clock.now - timedelta(hours=21), "key-laptop", 60)
    log("second", clock.now - timedelta(minutes=1), "key-laptop", 30)
    log("others", clock.now, "key-other", 500)
    log("nobody's", clock.now, None, 500)
    meter, who = Meter(database, clock), key(tokens_per_day=100)
    meter.admit(who)
    meter.spend(who, 10)
    assert admitted(meter, who, 1) == 0


def test_who_needs_no_key_has_no_budget(database: sqlalchemy.Engine) -> None:
    meter = Meter(database)
    meter.spend(None, 10**9)
    meter.admit(None)
