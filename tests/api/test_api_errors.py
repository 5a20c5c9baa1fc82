"""Every refusal: its status, its words and OpenAI's shape. No engine is started here."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy

from pumice.api.app import create_app
from pumice.api.platform import open_platform
from pumice.config import Home
from pumice.store.tables import open_database

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def database(home: Home) -> sqlalchemy.Engine:
    home.root.mkdir()
    return open_database(home.database)


@pytest.fixture
def client(home: Home, database: sqlalchemy.Engine) -> Iterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(open_platform(home, database), "127.0.0.1"))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


async def refused(client: httpx.AsyncClient, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    answer = await client.post(path, json=body)
    assert answer.headers["x-request-id"].startswith("req-")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return answer.status_code, error


TOOLS = [{"type": "function", "function": {"name": "f"}}]
CHAT = [
    ({"temprature": 1}, "temprature", "unknown_parameter", "Did you mean 'temperature'?"),
    ({"temperature": 3}, "temperature", "invalid_value", "less than or equal to 2, got 3"),
    ({"temperature": "1"}, "temperature", "invalid_value", "valid number"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value", "greater than or equal to 1"),
    ({"n": True}, "n", "invalid_value", "valid integer"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value", "at most 4"),
    ({"stop": ""}, "stop[0]", "invalid_value", "at least 1 character"),
    ({"messages": []}, "messages", "invalid_value", "at least 1"),
    ({"messages": [{"role": "wizard", "content": "Hi"}]}, "messages[0].role", "invalid_value", "'user'"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter", "Missing"),
    (
        {"messages": [{"role": "user", "content": "Hi", "contnt": ""}]},
        "messages[0].contnt",
        "unknown_parameter",
        "'content'",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        "messages[0].content",
        "invalid_value",
        "reads no 'image_url' parts",
    ),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].custom", "unknown_parameter", "custom"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter", "name"),
    ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice", "invalid_value", "'required' or"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_value", "only for requests with 'tools'"),
    ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "response_format", "invalid_value", "send one"),
    ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter", "'tools' and 'tool_choice'"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_value", "beside 'tool_calls'"),
    ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].tool_call_id", "invalid_value", "which call"),
    ({"logit_bias": {"5": 10}}, "logit_bias", "unsupported_parameter", "favoured"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "'json_schema'"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "invalid_value", "go together"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value", "`logprobs: true`"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value", "`stream: true`"),
    ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "invalid_value", "send one"),
    ({"model": 5}, "model", "invalid_value", "valid string"),
]


@pytest.mark.parametrize(("change", "param", "code", "words"), CHAT)
async def test_a_chat_that_breaks_a_rule(
    client: httpx.AsyncClient, change: dict[str, Any], param: str, code: str, words: str
) -> None:
    for prefix in ("/v1", "/openai/v1"):
        status, error = await refused(client, f"{prefix}/chat/completions", {"model": "m", "messages": HELLO} | change)
        assert (status, error["param"], error["code"]) == (400, param, code)
        assert words in error["message"]


COMPLETION = [
    ({"prompt": []}, "prompt", "invalid_value", "a prompt is a string"),
    ({"prompt": [["a"]]}, "prompt", "invalid_value", "a prompt is a string"),
    ({"prompt": [1, -1]}, "prompt", "invalid_value", "a prompt is a string"),
    ({"suffix": "the end"}, "suffix", "unsupported_parameter", "end of a text"),
    ({"best_of": 3}, "best_of", "unsupported_parameter", "use 'n'"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value", "only for `echo: true`"),
    ({"max_tokens": 0, "echo": True, "stream": True}, "max_tokens", "invalid_value", "without a stream"),
    ({"messages": HELLO}, "messages", "unknown_parameter", "messages"),
]


@pytest.mark.parametrize(("change", "param", "code", "words"), COMPLETION)
async def test_a_completion_that_breaks_a_rule(
    client: httpx.AsyncClient, change: dict[str, Any], param: str, code: str, words: str
) -> None:
    status, error = await refused(client, "/v1/completions", {"model": "m", "prompt": "Once"} | change)
    assert (status, error["param"], error["code"]) == (400, param, code)
    assert words in error["message"]


async def test_what_clients_send_for_book_keeping_is_let_through(client: httpx.AsyncClient) -> None:
    harmless = {
        "user": "u1", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "parallel_tool_calls": True,
        "safety_identifier": "s", "prompt_cache_key": "p", "tools": [], "tool_choice": "auto", "logit_bias": {},
        "modalities": ["text"], "functions": None, "response_format": {"type": "text"},
    }  # fmt: skip
    answered = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "tool_calls": None,
        "audio": None,
    }
    body = {"model": "m", "messages": [*HELLO, answered, *HELLO], **harmless}
    status, error = await refused(client, "/v1/chat/completions", body)
    assert (status, error["code"]) == (404, "model_not_found")


async def test_bodies_that_are_no_object(client: httpx.AsyncClient) -> None:
    cases = [(b"{nope", "is not JSON"), (b"", "no body"), (b"[1]", "not a JSON object"), (b'"a"', "not a JSON object")]
    for content, words in cases:
        headers = {"content-type": "application/json"}
        answer = await client.post("/v1/chat/completions", content=content, headers=headers)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
    answer = await client.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]


async def test_a_body_over_10_mb(client: httpx.AsyncClient) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 10_000_000}]}
    status, error = await refused(client, "/v1/chat/completions", body)
    assert (status, error["type"]) == (413, "invalid_request_error")

    async def pieces() -> Any:
        for _ in range(11):
            yield b" " * 1_000_000

    answer = await client.post("/v1/chat/completions", content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "10 MB" in answer.json()["error"]["message"]


async def test_addresses_and_verbs_that_do_not_exist(client: httpx.AsyncClient) -> None:
    status, error = await refused(client, "/v1/chat/complete", {})
    assert (status, error["message"]) == (404, "Unknown request URL: POST /v1/chat/complete.")
    status, error = await refused(client, "/v1/models", {})
    assert (status, error["message"]) == (405, "/v1/models does not take POST.")


async def test_an_unknown_model_is_told_with_near_names(client: httpx.AsyncClient) -> None:
    for name in ("smollm2-135m-instruct", "smollm2-135m-instruct-q4_1@3"):
        status, error = await refused(client, "/v1/chat/completions", {"model": name, "messages": HELLO})
        assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")
        assert "Did you mean 'smollm2-135m-instruct-q4_1'?" in error["message"]
    answer = await client.get("/v1/models/smollm2-135m-instruct")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_path_or_hub_id_from_outside_is_never_looked_up(client: httpx.AsyncClient, home: Home) -> None:
    for name in (str(home.root), "/etc", "../..", "HuggingFaceTB/SmolLM2-135M"):
        status, error = await refused(client, "/v1/completions", {"model": name, "prompt": "Once"})
        assert (status, error["code"]) == (404, "model_not_found")
    assert not home.bases.exists()


async def test_an_unforeseen_failure_is_in_the_log_and_not_in_the_answer(
    client: httpx.AsyncClient, database: sqlalchemy.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with database.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE models"))
    with caplog.at_level(logging.ERROR, "pumice"):
        status, error = await refused(client, "/v1/chat/completions", {"model": "m", "messages": HELLO})
    assert (status, error["type"], error["code"]) == (500, "server_error", "internal_error")
    record = next(record for record in caplog.records if record.exc_info)
    request_id = record.getMessage().split()[1]
    assert request_id in error["message"]
    assert "no such table" in caplog.text
    assert "models" not in error["message"]


async def test_health_and_metrics_and_schema(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json()["status"] == "ok"
    await client.get("/v1/models")
    await client.get("/nowhere/1")
    text = (await client.get("/metrics")).text
    assert 'pumice_requests_total{method="GET",route="/models",status="200"} 1.0' in text
    assert 'pumice_requests_total{method="GET",route="other",status="404"} 1.0' in text
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/v1/models", "/v1/chat/completions", "/v1/files", "/v1/fine_tuning/jobs", "/healthz"} <= set(paths)


def test_the_server_loads_no_training_library() -> None:
    heavy = ["torch", "transformers", "trl", "peft", "accelerate", "datasets"]
    code = f"import sys, pumice.api.app; print(*[name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
