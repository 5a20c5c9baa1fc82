"""What happens when an engine dies, a caller leaves, or a key appears while the server runs."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from live_server import Live, register, serving, write_adapter

from pumice.api.identity import Identity
from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base, Role
from pumice.store.tables import open_database

ASK = [{"role": "user", "content": "Tell a long story about a river, in many chapters."}]
# Hot enough that it does not stop by itself.
LONG: dict[str, Any] = {"messages": ASK, "max_tokens": 2000, "temperature": 2}


def kill_engines() -> None:
    """End every engine process under this test run as a crash would."""
    for child in psutil.Process().children(recursive=True):
        if "pumice.engine.llamacpp_child" in child.cmdline():
            child.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; minutes without it are a failure."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def running(live: Live) -> float:
    """Answers under way in the default base's engine process."""
    lines = httpx.get(f"{live.url}/metrics").text.splitlines()
    name = f'pumice_engine_running{{engine="llama.cpp",folder="bases/{live.base.name}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_an_engine_that_dies_breaks_the_stream_and_nothing_else(live: Live) -> None:
    stream = live.client.chat.completions.create(**LONG, model=live.base.name, stream=True)
    next(stream)
    kill_engines()
    with pytest.raises(openai.APIError, match="ended during the answer"):
        list(stream)
    for model in (live.base.name, "red"):
        answer = live.client.chat.completions.create(model=model, messages=ASK, max_tokens=3)
        assert answer.usage.completion_tokens == 3


def test_an_answer_that_its_engine_did_not_survive_can_be_asked_for_again(live: Live) -> None:
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(live.client.chat.completions.create, **LONG, model=live.base.name)
        wait_for(lambda: running(live) == 1)
        kill_engines()
        with pytest.raises(openai.InternalServerError) as refusal:
            asked.result()
    assert refusal.value.status_code == 503
    assert refusal.value.response.headers["retry-after"] == "2"
    assert refusal.value.code == "unavailable"
    # The official client comes again by itself.
    patient = live.client.with_options(max_retries=2)
    assert patient.chat.completions.create(model=live.base.name, messages=ASK, max_tokens=3).choices


@pytest.mark.parametrize("streamed", [True, False])
def test_a_caller_who_leaves_ends_the_generation(live: Live, streamed: bool) -> None:
    content = json.dumps({**LONG, "model": live.base.name, "stream": streamed}).encode()
    with socket.create_connection(live.address) as caller:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
        caller.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + content)
        wait_for(lambda: running(live) == 1)
        # A far shorter answer, which would be the first to end if the long one went on.
        other = live.client.chat.completions.create(**{**LONG, "max_tokens": 200}, model=live.base.name, stream=True)
        next(other)
        assert running(live) == 2
    wait_for(lambda: running(live) == 1)
    list(other)
    assert running(live) == 0


def test_a_key_that_appears_is_asked_for_within_a_second(home: Home) -> None:
    home.root.mkdir()
    keys = Identity(open_database(home.database), home)
    with serving(home) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert client.models.list().data
        made = keys.create("laptop", Role.INVOKE)
        wait_for(lambda: httpx.get(f"{url}/v1/models").status_code == 401)
        with pytest.raises(openai.AuthenticationError) as refusal:
            client.models.list()
        assert refusal.value.code == "invalid_api_key"
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/healthz").status_code == 200
        with openai.OpenAI(base_url=f"{url}/v1", api_key=made.secret, max_retries=0) as known:
            assert known.models.list().data
            keys.revoke(made.key.id)
            wait_for(lambda: httpx.get(f"{url}/v1/models").status_code == 200)
            assert client.models.list().data


def test_the_server_takes_its_engines_with_it(tmp_path: Path, tiny: Base) -> None:
    home = Home(tmp_path)
    base = resolve.resolve(str(tiny.folder), home)
    register(home, base, "red", write_adapter(base, 1000, tmp_path / "artifact"))
    before = set(psutil.Process().children(recursive=True))
    with serving(home) as url:
        body = {"model": "red", "prompt": "Once", "max_tokens": 1}
        assert httpx.post(f"{url}/v1/completions", json=body, timeout=120).status_code == 200
        started = set(psutil.Process().children(recursive=True)) - before
        assert started
    assert not [child for child in started if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
