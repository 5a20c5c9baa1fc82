"""Batches through the official client."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from live_server import Live
from openai.types import Batch

URL = "/v1/chat/completions"


def line(id: str, url: str = URL, **body: Any) -> str:
    return json.dumps({"custom_id": id, "method": "POST", "url": url, "body": body})


def ask(live: Live, content: str) -> dict[str, Any]:
    return {"model": live.base.name, "messages": [{"role": "user", "content": content}], "max_tokens": 4}


def done(live: Live, lines: list[str], endpoint: str = URL) -> Batch:
    file = live.client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = live.client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"team": "blue"}
    )
    while batch.status not in ("completed", "failed", "cancelled"):
        time.sleep(0.1)
        batch = live.client.batches.retrieve(batch.id)
    return batch


def rows(live: Live, id: str | None) -> list[dict[str, Any]]:
    assert id
    return [json.loads(row) for row in live.client.files.content(id).text.splitlines()]


def test_lines_are_answered_as_their_route_answers(live: Live) -> None:
    asked = {**ask(live, "Name a colour."), "temperature": 0}
    batch = done(
        live, [line("a", **asked), line("b", **{**asked, "temperature": 9}), line("c", **{**asked, "model": "?"})]
    )
    assert batch.status == "completed", batch
    assert batch.metadata == {"team": "blue"}
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (3, 1, 2)
    [good] = rows(live, batch.output_file_id)
    alone = live.client.chat.completions.create(**asked)
    assert good["custom_id"] == "a"
    assert good["response"]["status_code"] == 200
    assert good["response"]["body"]["choices"][0]["message"]["content"] == alone.choices[0].message.content
    wrong, unknown = rows(live, batch.error_file_id)
    assert (wrong["custom_id"], wrong["response"]["status_code"]) == ("b", 400)
    assert wrong["response"]["body"]["error"]["param"] == "temperature"
    assert unknown["response"]["body"]["error"]["code"] == "model_not_found"
    assert batch.id in [each.id for each in live.client.batches.list(limit=1)]


def test_embeddings_come_in_batches_too(live: Live) -> None:
    url = "/v1/embeddings"
    batch = done(live, [line("a", url, model="all-minilm-l6-v2", input="A cat.")], url)
    [row] = rows(live, batch.output_file_id)
    assert len(row["response"]["body"]["data"][0]["embedding"]) == 384
    assert batch.error_file_id is None


def test_a_broken_line_fails_the_batch_with_its_number(live: Live) -> None:
    good = line("a", **ask(live, "Hi"))
    for bad, words in (
        ("{", "not JSON"),
        (good, "twice"),
        (line("b", "/v1/completions", prompt="x"), "'url' must"),
        ("[]", "'custom_id'"),
    ):
        batch = done(live, [good, bad])
        assert batch.status == "failed"
        assert batch.errors
        [error] = batch.errors.data or []
        assert error.line == 2, error
        assert words.replace("'url' must", "'url'") in (error.message or "")


def test_mistakes_are_named(live: Live) -> None:
    file = live.client.files.create(file=("in.jsonl", b"{}"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose 'batch'"):
        live.client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
    with pytest.raises(openai.NotFoundError):
        live.client.batches.retrieve("batch_none")
