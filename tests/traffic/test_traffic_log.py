"""The log keeps what it was given, in bounded room, and never lets the database hold anybody up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select, text

from pumice.records import Request
from pumice.store.tables import requests
from pumice.traffic import log as module
from pumice.traffic.log import Log

NOW = datetime.now(UTC)
KEPT = timedelta(days=30)
Opener = Callable[..., Log]


def request(n: int, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "id": f"req-{n:05}",
        "at": NOW + timedelta(seconds=n),
        "key": None,
        "operation": "chat",
        "asked": "faq",
        "model": "faq@1",
        "variant": None,
        "status": 200,
        "input_tokens": 10,
        "output_tokens": 20,
        "first_token_seconds": 0.25,
        "seconds": 1.5,
    }
    return Request(**{**values, **changes})


@pytest.fixture
def opened(database: Engine) -> Iterator[Opener]:
    """Opens logs that are closed at the end."""
    logs: list[Log] = []

    def opener(retention: timedelta = KEPT, size: int = 10_000) -> Log:
        logs.append(Log(database, retention, size))
        return logs[-1]

    yield opener
    for log in logs:
        log.close()


def test_a_shorter_time_deletes_at_once(opened: Opener, database: Engine) -> None:
    log = opened()
    for days in (20, 10, 1):
        log.add(request(days, at=NOW - timedelta(days=days)))
    log.flush()
    assert (log.older(timedelta(days=15)), log.older(timedelta(days=5)), log.older(KEPT)) == (1, 2, 0)
    log.keep(timedelta(days=5))
    assert log.days == 5
    end = time.monotonic() + 30
    while count(database) > 1:
        assert time.monotonic() < end, "it was never deleted"
    assert [each.id for each in log.find(10)] == ["req-00001"]


def count(database: Engine) -> int:
    with database.connect() as connection:
        return connection.execute(select(func.count()).select_from(requests)).scalar_one()


class Stuck:
    """A database whose inserts wait until they are let go."""

    def __init__(self, database: Engine) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        event.listen(database, "before_cursor_execute", self._wait)

    def _wait(self, connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO requests"):
            self.entered.set()
            assert self.go.wait(30)


def test_what_was_added_is_found_newest_first(opened: Opener) -> None:
    log = opened()
    bodies = {"request": {"messages": [{"content": "Wie groß ist 1_000 %?"}]}, "response": [1.5, None, "x"]}
    first = request(1, key="key-1", variant="blue", **bodies)
    rest = [request(n, first_token_seconds=None) for n in range(2, 1203)]
    for each in [first, *rest]:
        log.add(each)
    log.flush()
    assert log.find(2000) == (*rest[::-1], first)
    assert log.dropped == 0


def test_a_page_goes_on_behind_the_one_before(opened: Opener) -> None:
    log = opened()
    same = [request(n, at=NOW) for n in range(7)]
    for each in same:
        log.add(each)
    log.flush()
    pages = [log.find(3)]
    while pages[-1]:
        pages.append(log.find(3, before=pages[-1][-1].id))
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [each for page in pages for each in page] == same[::-1]
    assert log.find(3, before="req-that-was-deleted") == ()


def test_requests_are_found_by_what_they_were(opened: Opener) -> None:
    log = opened()
    log.add(request(1, model="faq@2", request={"q": 'Größe "50 %" a_b \\ c'}))
    log.add(request(2, key="key-1", response={"a": "größe 50"}))
    log.add(request(3, status=429, request={"q": "aXb"}))
    log.flush()

    def found(**wanted: Any) -> list[str]:
        return [each.id[-1] for each in log.find(10, **wanted)]

    assert found(model="faq@2") == ["1"] and found(key="key-1") == ["2"] and found(status=429) == ["3"]
    assert found(model="faq@2", status=429) == []
    assert (
        found(contains="GRöß") == ["2", "1"]
        and found(contains="50") == ["2", "1"]
        and found(contains="Größe") == ["2", "1"]
    )
    assert found(contains='"50 %"') == ["1"] and found(contains="a_b") == ["1"] and found(contains="\\ C") == ["1"]


def test_adding_never_waits_and_what_is_too_much_is_counted(database: Engine, opened: Opener) -> None:
    stuck = Stuck(database)
    log = opened(size=100)
    log.add(request(0))
    assert stuck.entered.wait(30)
    for n in range(1, 151):
        log.add(request(n))
    assert log.dropped == 50
    stuck.go.set()
    log.flush()
    assert count(database) == 101 and log.dropped == 50


def test_bodies_that_wait_have_bounded_room(database: Engine, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    stuck = Stuck(database)
    log = opened()
    log.add(request(0, request={"text": "x" * 3000}))
    assert stuck.entered.wait(30)
    for n in range(1, 6):
        log.add(request(n, request={"text": "x" * 3000}))
    log.add(request(6))
    assert log.dropped == 3
    stuck.go.set()
    log.flush()
    log.add(request(7, request={"text": "x" * 9000}))
    log.flush()
    assert log.dropped == 3 and [each.id[-1] for each in log.find(10)] == ["7", "6", "2", "1", "0"]


def test_a_body_that_is_too_large_only_says_so(opened: Opener) -> None:
    log = opened()
    log.add(request(1, request={"text": "x" * 2**20}, response={"text": "\ud800"}))
    log.flush()
    (found,) = log.find(1)
    assert found.request == {"truncated": True, "bytes": 2**20 + 11}
    assert "surrogates" in found.response["omitted"]


def test_a_caller_cannot_break_the_log_with_a_word(opened: Opener) -> None:
    log = opened()
    log.add(request(1, asked="a\0b\ud800c" + "x" * 5000))
    log.flush()
    (found,) = log.find(1)
    assert found.asked.startswith("a\ufffdb?cxxx") and len(found.asked) == 1000 and log.dropped == 0


def test_a_database_that_fails_costs_its_rows_and_no_more(
    database: Engine, opened: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    log = opened()
    log.flush()
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE requests RENAME TO elsewhere"))
    for n in (1, 2):
        log.add(request(n))
        log.flush()
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO requests"))
    log.add(request(3))
    log.flush()
    assert log.dropped == 2 and [each.id for each in log.find(10)] == ["req-00003"]
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 1 and "cannot be written" in told[0].getMessage()


def test_old_requests_go_in_steps_and_not_all_the_time(
    database: Engine, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLEAN_ROWS", 10)
    log = opened(timedelta(days=3650))
    for n in range(25):
        log.add(request(n, at=NOW - timedelta(days=8, seconds=n)))
    log.add(request(30, at=NOW - timedelta(days=6)))
    log.close()
    deletes: list[str] = []
    event.listen(database, "before_cursor_execute", lambda c, u, statement, *_: deletes.append(statement))
    log = opened(timedelta(days=7))
    log.add(request(31))
    log.flush()
    assert [each.id for each in log.find(50)] == ["req-00031", "req-00030"]
    log.add(request(32, at=NOW - timedelta(days=9)))
    log.flush()
    assert count(database) == 3
    assert sum(statement.startswith("DELETE") for statement in deletes) == 3


def test_closing_writes_what_waits(database: Engine, opened: Opener) -> None:
    log = opened()
    for n in range(1200):
        log.add(request(n))
    log.close()
    assert count(database) == 1200
    log.add(request(2000))
    log.close()
    assert log.dropped == 1 and count(database) == 1200


def test_many_threads_lose_nothing(database: Engine, opened: Opener) -> None:
    log = opened()
    threads = [
        threading.Thread(target=lambda k=k: [log.add(request(k * 1000 + n)) for n in range(250)]) for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()
    assert count(database) == 2000 and log.dropped == 0
