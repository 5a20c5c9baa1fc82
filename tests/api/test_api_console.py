"""What a console reads: jobs and their stories, the request log with and without bodies, the keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import uvicorn
from botocore.config import Config
from live_server import Live, register, write_adapter
from openai import OpenAI

from pumice.api.app import create_app
from pumice.api.exchange import Exchange
from pumice.api.identity import Identity
from pumice.api.platform import open_platform
from pumice.bases import resolve
from pumice.config import Home, read_environment
from pumice.errors import InputError
from pumice.jobs.queue import Queue
from pumice.records import Base, Event, JobState, Role
from pumice.store.tables import open_database
from pumice.traffic.log import Log

ASK = [{"role": "user", "content": "Hello"}]
READ = ("/api/jobs", "/api/jobs/{job_id}", "/api/jobs/{job_id}/events", "/api/requests", "/api/keys")
WORDS = {
    "catalogue", "checks", "datasets", "doctor", "estimates", "feedback", "jobs", "keys", "methods", "models",
    "overview", "prompts", "requests", "session", "settings", "traffic", "variants", "votes",
}  # fmt: skip
"""What stands behind `/api/`."""


@contextmanager
def kept(home: Home, bodies: bool) -> Iterator[str]:
    """A server that logs bodies, or does not."""
    app = create_app(open_platform(home, open_database(home.database), log_bodies=bodies), "127.0.0.1")
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server ended before it listened"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def home(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("console"))
    base = resolve.resolve(str(tiny.folder), home)
    register(home, base, "red", write_adapter(base, 1000, tmp_path_factory.mktemp("adapters") / "red"))
    return home


@pytest.fixture(scope="module")
def url(home: Home) -> Iterator[str]:
    with kept(home, bodies=True) as url:
        yield url


def logged(url: str, fits: Callable[[dict[str, Any]], bool] = lambda row: True, **query: Any) -> dict[str, Any]:
    """The newest request that fits, once it is written."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for row in httpx.get(f"{url}/api/requests", params=query).json()["data"]:
            if fits(row):
                return dict(row)
    raise AssertionError("it was never logged")


def openai(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none is asked for", max_retries=0)


def runtime(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="anything",
        aws_secret_access_key="passes",
        config=Config(retries={"max_attempts": 0}),
    )


def asked_for(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: text in json.dumps(row["request"])


def test_a_request_is_found_by_model_status_and_words(url: str) -> None:
    with openai(url) as client:
        for word in ("zebra", "giraffe"):
            client.chat.completions.create(model="red", messages=[{"role": "user", "content": word}], max_tokens=2)
    httpx.post(f"{url}/v1/chat/completions", json={"model": "nobody", "messages": ASK})
    found = logged(url, contains="ZEBRA")
    assert (found["operation"], found["asked"], found["model"], found["status"]) == ("chat", "red", "red@1", 200)
    assert found["output_tokens"] == 2
    assert 0 < found["first_token_seconds"] <= found["seconds"]
    assert logged(url, status=404)["asked"] == "nobody"
    assert httpx.get(f"{url}/api/requests", params={"model": "blue@1"}).json()["data"] == []
    first = httpx.get(f"{url}/api/requests", params={"limit": 1}).json()
    assert (len(first["data"]), first["has_more"]) == (1, True)
    second = httpx.get(f"{url}/api/requests", params={"limit": 1, "before": first["last_id"]}).json()
    assert second["first_id"] not in (None, first["first_id"])


def test_bodies_of_chat_are_kept_and_streams_are_joined(url: str) -> None:
    with openai(url) as client:
        asked = [{"role": "user", "content": "whole"}]
        whole = client.chat.completions.create(model="red", messages=asked, max_tokens=3, temperature=0)
        row = logged(url, asked_for("whole"))
        assert row["request"]["messages"] == asked
        assert row["response"]["id"] == whole.id
        assert row["response"]["choices"][0]["message"]["content"] == whole.choices[0].message.content
        asked = [{"role": "user", "content": "in pieces"}]
        pieces = client.chat.completions.create(model="red", messages=asked, max_tokens=3, temperature=0, stream=True)
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        assert text
        row = logged(url, asked_for("in pieces"))
        (choice,) = row["response"]["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (text, "length")


def test_bodies_of_completions_are_kept_and_streams_are_joined(url: str) -> None:
    with openai(url) as client:
        whole = client.completions.create(model="red", prompt="once whole", max_tokens=3, temperature=0)
        assert logged(url, asked_for("once whole"))["response"]["choices"][0]["text"] == whole.choices[0].text
        pieces = client.completions.create(
            model="red", prompt="once in pieces", max_tokens=3, temperature=0, stream=True, n=2
        )
        texts = ["", ""]
        for piece in pieces:
            texts[piece.choices[0].index] += piece.choices[0].text
        choices = logged(url, asked_for("once in pieces"))["response"]["choices"]
        assert [each["text"] for each in choices] == texts


def test_bodies_of_bedrock_are_kept_and_streams_are_joined(url: str) -> None:
    client = runtime(url)

    def converse(word: str) -> dict[str, Any]:
        return {
            "modelId": "red",
            "messages": [{"role": "user", "content": [{"text": word}]}],
            "inferenceConfig": {"maxTokens": 3, "temperature": 0},
        }

    whole = client.converse(**converse("bedrock whole"))
    row = logged(url, asked_for("bedrock whole"))
    assert row["request"]["messages"] == converse("bedrock whole")["messages"]
    assert row["response"]["output"] == whole["output"]
    events = list(client.converse_stream(**converse("bedrock in pieces"))["stream"])
    text = "".join(each["contentBlockDelta"]["delta"]["text"] for each in events if "contentBlockDelta" in each)
    assert text
    row = logged(url, asked_for("bedrock in pieces"))
    assert row["response"]["text"] == text
    assert [next(iter(each)) for each in row["response"]["events"]] == [next(iter(each)) for each in events]
    body = json.dumps({"prompt": "llama in pieces", "max_gen_len": 3, "temperature": 0})
    chunks = [
        json.loads(each["chunk"]["bytes"])
        for each in client.invoke_model_with_response_stream(modelId="red", body=body)["body"]
    ]
    row = logged(url, asked_for("llama in pieces"))
    assert row["response"]["text"] == "".join(each["generation"] for each in chunks)
    client.close()


def test_without_the_setting_no_body_is_kept(home: Home) -> None:
    with kept(home, bodies=False) as url:
        with openai(url) as client:
            client.chat.completions.create(model="red", messages=ASK, max_tokens=7)
            list(client.chat.completions.create(model="red", messages=ASK, max_tokens=8, stream=True))
        client = runtime(url)
        asked = [{"role": "user", "content": [{"text": "Hello"}]}]
        list(client.converse_stream(modelId="red", messages=asked, inferenceConfig={"maxTokens": 9})["stream"])
        client.close()
        for tokens in (7, 8, 9):
            row = logged(url, lambda row, tokens=tokens: row["output_tokens"] == tokens)  # type: ignore[misc]
            assert (row["request"], row["response"]) == (None, None)


def test_jobs_and_their_stories(url: str, home: Home) -> None:
    queue = Queue(open_database(home.database), home)
    job = queue.stop(queue.submit("run", {"name": "one"}).id)
    queue.stop(queue.submit("run", {"name": "two"}).id)
    for step in (1, 2):
        queue.append(job.id, Event("step", {"step": step, "loss": 1.5}))
    shown = httpx.get(f"{url}/api/jobs").json()
    assert [each["spec"]["name"] for each in shown["data"]] == ["two", "one"]
    assert httpx.get(f"{url}/api/jobs", params={"state": "failed"}).json()["data"] == []
    assert httpx.get(f"{url}/api/jobs/{job.id}").json()["state"] == JobState.STOPPED
    answer = httpx.get(f"{url}/api/jobs/{job.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    told = [json.loads(line) for line in lines[:-1]]
    assert [each["data"]["step"] for each in told if each["kind"] == "step"] == [1, 2]
    rest = httpx.get(f"{url}/api/jobs/{job.id}/events", params={"seen": len(told)})
    assert rest.text == "data: [DONE]\n\n"
    missing = httpx.get(f"{url}/api/jobs/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "job_not_found")


def test_a_story_comes_while_it_is_told(url: str, home: Home) -> None:
    queue = Queue(open_database(home.database), home)
    job = queue.submit("run", {"name": "live"})
    queue.append(job.id, Event("note", {"text": "begun"}))
    with httpx.stream("GET", f"{url}/api/jobs/{job.id}/events", timeout=30) as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert json.loads(next(lines).removeprefix("data: "))["data"] == {"text": "begun"}
        queue.stop(job.id)
        assert list(lines)[-1] == "data: [DONE]"


def test_roles_decide_and_no_secret_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("keyed"))
    keys = Identity(open_database(home.database), home)
    made = {role: keys.create(f"the {role}", role, tokens_per_day=100) for role in Role}
    with kept(home, bodies=False) as url:
        may = {
            (role, path): httpx.get(f"{url}{path}", headers={"Authorization": f"Bearer {made[role].secret}"})
            for role in Role
            for path in ("/api/requests", "/api/jobs", "/api/keys")
        }
    statuses = {key: answer.status_code for key, answer in may.items()}
    assert statuses == {
        **{(Role.INVOKE, path): 403 for path in ("/api/requests", "/api/jobs", "/api/keys")},
        **{(Role.TRAIN, path): 200 for path in ("/api/requests", "/api/jobs")},
        (Role.TRAIN, "/api/keys"): 403,
        **{(Role.ADMIN, path): 200 for path in ("/api/requests", "/api/jobs", "/api/keys")},
    }
    shown = may[Role.ADMIN, "/api/keys"]
    assert {(each["name"], each["role"], each["tokens_per_day"]) for each in shown.json()["data"]} == {
        (f"the {role}", role, 100) for role in Role
    }
    for each in made.values():
        assert each.secret not in shown.text
        assert each.signing_secret not in shown.text
        assert each.key.secret_sha256 not in shown.text
        assert str(each.key.signing_secret) not in shown.text


def test_a_key_has_the_budget_that_an_admin_gives_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    keyed = Home(tmp_path_factory.mktemp("budgets"))
    keys = Identity(open_database(keyed.database), keyed)
    made = {role: keys.create(f"the {role}", role) for role in Role}
    with kept(keyed, bodies=False) as url:
        for role, path in ((Role.TRAIN, "keys/the%20invoke/budget"), (Role.TRAIN, "settings/retention")):
            headers = {"Authorization": f"Bearer {made[role].secret}"}
            assert httpx.put(f"{url}/api/{path}", headers=headers, json={}).status_code == 403
        admin = {"Authorization": f"Bearer {made[Role.ADMIN].secret}"}
        budget = {"requests_per_minute": 1, "tokens_per_day": None}
        path = f"{url}/api/keys/{made[Role.INVOKE].key.id}/budget"
        assert httpx.put(path, headers=admin, json=budget).json()["requests_per_minute"] == 1
        # A limit that is left out is none that is taken away.
        assert httpx.put(path, headers=admin, json={"tokens_per_day": 5}).status_code == 400
        asker = {"Authorization": f"Bearer {made[Role.INVOKE].secret}"}
        asked = {"model": "nobody", "messages": ASK}
        statuses = [httpx.post(f"{url}/v1/chat/completions", headers=asker, json=asked).status_code for _ in range(2)]
        assert statuses == [404, 429]
        free = {"requests_per_minute": None, "tokens_per_day": None}
        assert httpx.put(path, headers=admin, json=free).status_code == 200
        assert httpx.post(f"{url}/v1/chat/completions", headers=asker, json=asked).status_code == 404


def test_the_schema_tells_all_of_it(live: Live) -> None:
    schema = httpx.get(f"{live.url}/openapi.json").json()
    paths = {path: schema["paths"][path]["get"] for path in READ}
    written = {path for path in schema["paths"] if path.startswith("/api/")}
    assert {path.split("/")[2] for path in written} == WORDS
    assert "text/event-stream" in paths["/api/jobs/{job_id}/events"]["responses"]["200"]["content"]
    names = {each["name"] for each in paths["/api/requests"]["parameters"]}
    assert names == {"model", "key", "status", "variant", "bodies", "contains", "before", "limit"}
    shown = schema["components"]["schemas"]["ShownKey"]["properties"]
    assert not {"secret_sha256", "signing_secret"} & set(shown)


def test_the_settings_of_the_log_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(tmp_path))
    for name in ("PUMICE_LOG_DAYS", "PUMICE_LOG_BODIES"):
        monkeypatch.delenv(name, raising=False)
    assert (read_environment().log_days, read_environment().log_bodies) == (None, False)
    monkeypatch.setenv("PUMICE_LOG_DAYS", "7")
    monkeypatch.setenv("PUMICE_LOG_BODIES", "1")
    assert (read_environment().log_days, read_environment().log_bodies) == (7, True)


def test_what_is_older_than_the_log_keeps_goes(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("aged"))
    database = open_database(home.database)
    log = Log(database, timedelta(days=30))
    for days in (3, 1):
        at = datetime.now(UTC) - timedelta(days=days)
        log.add(Exchange(f"req-{days}", at, operation="chat", model="red@1").record(200, bodies=False))
    log.close()
    platform = open_platform(home, database, log_days=2)
    end = time.monotonic() + 30
    while len(platform.log.find(10)) > 1:
        assert time.monotonic() < end, "it was never cleaned"
    assert [each.id for each in platform.log.find(10)] == ["req-1"]
    platform.log.close()


@pytest.mark.parametrize("name", ["PUMICE_PORT", "PUMICE_LOG_DAYS"])
@pytest.mark.parametrize("value", ["soon", "-1", "1e3", "99999999"])
def test_a_setting_that_is_no_number_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(tmp_path))
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name}={value} is no whole number"):
        read_environment()
