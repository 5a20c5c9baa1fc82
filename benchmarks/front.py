"""What the front costs: HTTP, keys, names, template, tokens, metrics and log, over an engine that answers at once.

    python -m benchmarks.front [--seconds 2] [--rounds 20]

LiteLLM's proxy with its own mock model stands beside it, in an environment of its own (made on the first run), in the
same rounds. Each serves one process; the load client takes the other core. Rates of a shared machine are noise: read
the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.pairs import ROUNDS, in_turns, median, ratio
from benchmarks.performance import ROOT, Claim, Part, Row, record
from pumice.api.identity import Identity
from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Role
from pumice.store.tables import open_database

PUMICE, LITELLM = 8911, 8912
"""Ports on loopback."""
ENVIRONMENT = ROOT / ".bench" / "litellm"
PEER = "litellm[proxy]==1.106.2"
ASK = {"messages": [{"role": "user", "content": "How long is the guarantee, and who do I ask about it?"}]}
CONNECTIONS = {"alone": 1, "together": 16}


def measure(seconds: float = 2, rounds: int = ROUNDS) -> Part:
    """Both in turns: one connection, then sixteen, for `seconds` each. Raises `SystemExit` when a server fails."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        base = resolve.resolve(resolve.DEFAULT, home)
        secret = Identity(open_database(home.database), home).create("bench", Role.INVOKE).secret
        ours = (f"http://127.0.0.1:{PUMICE}/v1/chat/completions", secret, base.name)
        theirs = (f"http://127.0.0.1:{LITELLM}/v1/chat/completions", "sk-bench", "mock")
        with pumice(home), litellm(home.root):
            asked = {
                "Pumice": lambda: ask(home.root, *ours, seconds),
                "LiteLLM": lambda: ask(home.root, *theirs, seconds),
            }
            found = in_turns(asked, rounds)
    mine, other = found["Pumice"], found["LiteLLM"]
    rows = [
        Row(
            name,
            {
                "requests/s": median(each["rate"]),
                "p50 ms alone": median(each["alone"]),
                "p50 ms of 16": median(each["together"]),
                "errors": f"{sum(each['errors']):.0f}",
            },
        )
        for name, each in found.items()
    ]
    rate, alone = ratio(mine["rate"], other["rate"]), ratio(mine["alone"], other["alone"])
    claims = [
        Claim("p50 ms, one connection", median(mine["alone"]), rounds, more=False, goal=3, key="front.p50_ms"),
        Claim("requests/s, 16 connections", median(mine["rate"]), rounds, goal=800, key="front.rps"),
        Claim("requests/s, divided by those of LiteLLM", rate, rounds, peer="LiteLLM"),
        Claim("p50, divided by that of LiteLLM", alone, rounds, more=False, peer="LiteLLM"),
    ]
    how = (
        "Chat completions over an engine that answers at once with 16 tokens: what is left is HTTP, keys, names, "
        "template, tokens, metrics and the request log, all on. Each is one process; the client has the other core."
    )
    return Part(how, rows, claims, [f"{PEER} in an environment of its own, one worker, with its own mock model."])


def ask(folder: Path, url: str, key: str, model: str, seconds: float) -> dict[str, float]:
    """One round of one side: alone, then together."""
    body = folder / "body.json"
    body.write_text(json.dumps({"model": model, "max_tokens": 16, **ASK}))
    found = {}
    for name, connections in CONNECTIONS.items():
        command = [sys.executable, "-m", "benchmarks.load", url, str(body), "--seconds", str(seconds)]
        command += ["--connections", str(connections), "--header", f"Authorization: Bearer {key}"]
        told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        found[name] = told["p50"]
        found["rate"] = told["rate"]
        found["errors"] = found.get("errors", 0) + told["errors"]
    return found


@contextmanager
def pumice(home: Home) -> Iterator[None]:
    """A server with an echo for an engine."""
    command = [sys.executable, "-m", "benchmarks.echo", "--home", str(home.root), "--port", str(PUMICE)]
    with running(command, f"http://127.0.0.1:{PUMICE}/healthz", {}):
        yield


@contextmanager
def litellm(folder: Path) -> Iterator[None]:
    """LiteLLM's proxy with a model that answers by itself."""
    if not (ENVIRONMENT / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", PEER], check=True)
    mock = {"model": "openai/mock", "api_key": "none", "mock_response": "It is seven years, and you ask the workshop."}
    settings = {
        "model_list": [{"model_name": "mock", "litellm_params": mock}],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"telemetry": False},
    }
    config = folder / "litellm.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    command = [str(ENVIRONMENT / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(LITELLM), "--num_workers", "1"]
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with running(command, f"http://127.0.0.1:{LITELLM}/health/liveliness", offline):
        yield


@contextmanager
def running(command: list[str], health: str, extra: Mapping[str, str]) -> Iterator[int]:
    """A server process by its id, from its first healthy answer to the end of the block."""
    process = subprocess.Popen(
        command, env={**os.environ, **extra}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 120
        while not healthy(health):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{command[0]} did not start.")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def healthy(url: str) -> bool:
    """Whether a server answers."""
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    record("front", measure(given.seconds, given.rounds))
