"""What an exchange holds once bedrock-runtime has answered, which is what the log keeps."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from live_server import Live

from pumice.api.app import create_app
from pumice.api.background import Part
from pumice.api.exchange import Exchange
from pumice.api.platform import open_platform
from pumice.store.tables import open_database

CONVERSE = {
    "messages": [{"role": "user", "content": [{"text": "Once"}]}],
    "inferenceConfig": {"maxTokens": 3, "temperature": 0},
    "requestMetadata": {"team": "colours"},
}
LLAMA = {"prompt": "Once", "max_gen_len": 3, "temperature": 0}
METADATA = {"x-amzn-bedrock-request-metadata": '{"team": "colours"}'}


class Recorder(Part):
    """Keeps every exchange."""

    def __init__(self) -> None:
        self.seen: list[Exchange] = []

    def answered(self, exchange: Exchange, status: int) -> None:
        self.seen.append(exchange)


@pytest.fixture
async def server(live: Live) -> AsyncIterator[tuple[httpx.AsyncClient, Recorder]]:
    platform = open_platform(live.home, open_database(live.home.database))
    recorder = Recorder()
    platform.parts.append(recorder)
    transport = httpx.ASGITransport(create_app(platform, "127.0.0.1"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client, recorder
    await platform.pool.stop()


@pytest.mark.parametrize(
    ("operation", "path", "asked"),
    [
        ("Converse", "converse", CONVERSE),
        ("ConverseStream", "converse-stream", CONVERSE),
        ("InvokeModel", "invoke", LLAMA),
        ("InvokeModelWithResponseStream", "invoke-with-response-stream", LLAMA),
    ],
)
async def test_an_exchange_says_who_answered_what(
    server: tuple[httpx.AsyncClient, Recorder], operation: str, path: str, asked: dict[str, Any]
) -> None:
    client, recorder = server
    response = await client.post(f"/model/red/{path}", json=asked, headers=METADATA, timeout=120)
    assert response.status_code == 200
    [exchange] = recorder.seen
    assert (exchange.operation, exchange.asked, exchange.model) == (operation, "red", "red@1")
    assert exchange.request == asked
    assert exchange.metadata == {"team": "colours"}
    assert exchange.output_tokens == 3
    assert exchange.input_tokens > 0
    assert exchange.first_after is not None
    # Plain JSON, a stream as the list of its events.
    assert json.loads(json.dumps(exchange.response)) == exchange.response
    assert isinstance(exchange.response, list) == ("tream" in operation)
