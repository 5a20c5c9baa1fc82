"""What a batch may use, how long it has, and what a stop or a restart leaves of it; through the official client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from live_server import register, serving, write_adapter
from openai import OpenAI
from openai.types import Batch

from pumice.api.identity import Identity
from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base, Request, Role
from pumice.store.documents import Documents
from pumice.store.tables import open_database
from pumice.traffic.log import Log

URL: Final = "/v1/chat/completions"


@pytest.fixture
def small(tiny: Base, home: Home, tmp_path: Path) -> Home:
    """A home with the tiny adapter `red`."""
    base = resolve.resolve(str(tiny.folder), home)
    register(home, base, "red", write_adapter(base, 1000, tmp_path / "red"))
    return home


@contextmanager
def client(home: Home, key: str = "none", bodies: bool = False) -> Iterator[OpenAI]:
    with serving(home, bodies) as url, OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60) as made:
        yield made


def submit(client: OpenAI, lines: int, tokens: int = 4) -> Batch:
    body = {"model": "red", "messages": [{"role": "user", "content": "Say it."}], "max_tokens": tokens}
    rows = [{"custom_id": f"r{n}", "method": "POST", "url": URL, "body": body} for n in range(lines)]
    content = "\n".join(map(json.dumps, rows)).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")


def until(client: OpenAI, id: str, wanted: Callable[[Batch], bool]) -> Batch:
    end = time.monotonic() + 60
    while not wanted(batch := client.batches.retrieve(id)):
        assert time.monotonic() < end, batch
        time.sleep(0.02)
    return batch


def over(batch: Batch) -> bool:
    return batch.status in ("completed", "failed", "cancelled", "expired")


def answered(batch: Batch) -> int:
    assert batch.request_counts
    return batch.request_counts.completed


def rows(client: OpenAI, id: str | None) -> list[dict[str, Any]]:
    return [json.loads(row) for row in client.files.content(id).text.splitlines()] if id else []


def logged(home: Home) -> list[Request]:
    log = Log(open_database(home.database), timedelta(days=1))
    found = log.find(1000)
    log.close()
    return [each for each in found if each.operation]


def test_a_batch_spends_its_keys_tokens_and_then_says_so(small: Home) -> None:
    # Two lines are answered at a time, and the budget lets no further one begin.
    made = Identity(open_database(small.database), small).create("payer", Role.ADMIN, tokens_per_day=1)
    with client(small, made.secret) as ours:
        batch = until(ours, submit(ours, 6).id, over)
        assert batch.status == "completed"
        good, bad = rows(ours, batch.output_file_id), rows(ours, batch.error_file_id)
    assert 1 <= len(good) <= 2
    assert len(good) + len(bad) == 6
    for row in bad:
        assert row["response"]["status_code"] == 429
        assert "tokens of this day" in row["response"]["body"]["error"]["message"]
    kept = logged(small)
    assert len(kept) == len(good)
    for each in kept:
        assert (each.operation, each.model, each.key, each.status) == ("chat", "red@1", made.key.id, 200)
        assert each.input_tokens > 0
        assert each.output_tokens == 4


def test_a_batch_of_a_revoked_key_asks_nothing_more(small: Home) -> None:
    keys = Identity(open_database(small.database), small)
    payer, other = keys.create("payer", Role.ADMIN), keys.create("other", Role.ADMIN)
    with client(small, payer.secret) as ours:
        id = submit(ours, 300).id
        until(ours, id, lambda batch: answered(batch) >= 2)
        keys.revoke("payer")
        theirs = ours.with_options(api_key=other.secret)
        batch = until(theirs, id, over)
        bad = rows(theirs, batch.error_file_id)
    assert answered(batch) + len(bad) == 300
    assert bad[-1]["response"]["status_code"] == 403
    assert "revoked" in json.dumps(bad[-1])


def test_what_is_not_answered_in_time_expires(small: Home) -> None:
    with client(small) as ours:
        id = submit(ours, 400).id
        until(ours, id, lambda batch: answered(batch) >= 2)
    documents = Documents(open_database(small.database))
    # As if its day had passed while no server ran.
    documents.change("batch", id.removeprefix("batch_"), expires=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    with client(small) as ours:
        batch = until(ours, id, over)
        assert batch.status == "expired"
        assert batch.expired_at and batch.expires_at and batch.expired_at > batch.expires_at
        assert batch.completed_at is None
        good, late = rows(ours, batch.output_file_id), rows(ours, batch.error_file_id)
    assert len(good) == answered(batch) >= 2
    assert len(good) + len(late) == 400
    assert late[0]["response"] is None
    assert late[0]["error"]["code"] == "batch_expired"


def test_a_cancelled_batch_keeps_what_it_has(small: Home) -> None:
    with client(small) as ours:
        id = submit(ours, 400).id
        until(ours, id, lambda batch: answered(batch) >= 2)
        assert ours.batches.cancel(id).status in ("cancelling", "cancelled")
        batch = until(ours, id, over)
        assert batch.status == "cancelled"
        assert len(rows(ours, batch.output_file_id)) == answered(batch) < 400
    assert batch.error_file_id is None
    assert batch.in_progress_at and batch.cancelling_at and batch.cancelled_at
    assert batch.created_at <= batch.in_progress_at <= batch.cancelling_at <= batch.cancelled_at
    assert batch.finalizing_at is batch.completed_at is None


def test_after_a_restart_no_line_is_answered_twice(small: Home) -> None:
    with client(small) as ours:
        id = submit(ours, 60).id
        before = until(ours, id, lambda batch: answered(batch) >= 3)
        assert before.status == "in_progress"
    with client(small) as ours:
        batch = until(ours, id, over)
        assert batch.status == "completed"
        assert [row["custom_id"] for row in rows(ours, batch.output_file_id)] == [f"r{n}" for n in range(60)]
    assert batch.in_progress_at == before.in_progress_at
    assert batch.finalizing_at and batch.completed_at and batch.finalizing_at <= batch.completed_at
    # At most the two under way when the server stopped were begun once more.
    statuses = [each.status for each in logged(small)]
    assert statuses.count(200) == 60
    assert len(statuses) <= 62


def test_the_log_keeps_a_line_as_its_route_would_and_a_stream_as_a_whole(small: Home) -> None:
    with client(small, bodies=True) as ours:
        batch = until(ours, submit(ours, 1).id, over)
        [row] = rows(ours, batch.output_file_id)
        events = list(ours.responses.create(model="red", input="Say it.", max_output_tokens=4, stream=True))
    streamed, line = logged(small)
    assert (line.operation, line.response) == ("chat", row["response"]["body"])
    assert line.request["messages"] == [{"role": "user", "content": "Say it."}]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert (streamed.operation, streamed.request["input"]) == ("responses", "Say it.")
    assert streamed.response["output"][0]["content"][0]["text"] == text != ""
    assert streamed.response["usage"]["output_tokens"] == 4
