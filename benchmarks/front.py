"""What the front costs: HTTP, keys, names, template, tokens, metrics and log, over an engine that answers at once.

    python -m benchmarks.front [--seconds 8] [--rounds 3]

LiteLLM's proxy with its own mock model stands beside it, in an environment of its own (made on the first run), in the
same rounds. Each serves one process; the load client takes the other core. Rates of a shared machine are noise: read
the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from pumice.api.identity import Identity
from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Role
from pumice.store.tables import open_database

PUMICE, LITELLM = 8911, 8912
"""Ports on loopback."""
ENVIRONMENT = Path(".bench/litellm")
PEER = "litellm[proxy]==1.106.2"
ASK = {"messages": [{"role": "user", "content": "How long is the guarantee, and who do I ask about it?"}]}
CONNECTIONS = {"alone": 1, "together": 16}
Run = Mapping[str, Mapping[str, Any]]
"""What `benchmarks.load` found, by the names of `CONNECTIONS`."""


def main(seconds: float, rounds: int) -> dict[str, Any]:
    """Measure both, round by round; print medians and the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        base = resolve.resolve(resolve.DEFAULT, home)
        secret = Identity(open_database(home.database), home).create("bench", Role.INVOKE).secret
        targets = {
            "pumice": (f"http://127.0.0.1:{PUMICE}/v1/chat/completions", secret, base.name),
            "litellm": (f"http://127.0.0.1:{LITELLM}/v1/chat/completions", "sk-bench", "mock"),
        }
        with pumice(home), litellm(home.root):
            runs: dict[str, list[Run]] = {name: [] for name in targets}
            for _ in range(rounds):
                for name, target in targets.items():
                    runs[name].append(measure(home.root, *target, seconds))
    found = {name: medians(each) for name, each in runs.items()}
    print(f"{'':10} {'requests/s':>11} {'p50 ms alone':>13} {'p50 ms of 16':>13} {'errors':>7}")
    for name, each in found.items():
        print(f"{name:10} {each['rate']:11.0f} {each['alone']:13.2f} {each['together']:13.2f} {each['errors']:7}")
    print(f"Pumice answers {found['pumice']['rate'] / found['litellm']['rate']:.1f} times as many requests a second.")
    return found


def measure(folder: Path, url: str, key: str, model: str, seconds: float) -> Run:
    """One round: alone, then together."""
    body = folder / "body.json"
    body.write_text(json.dumps({"model": model, "max_tokens": 16, **ASK}))
    found = {}
    for name, connections in CONNECTIONS.items():
        command = [sys.executable, "-m", "benchmarks.load", url, str(body), "--seconds", str(seconds)]
        command += ["--connections", str(connections), "--header", f"Authorization: Bearer {key}"]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def medians(runs: Sequence[Run]) -> dict[str, Any]:
    """Over the rounds; errors are added up."""
    return {
        "rate": statistics.median(run["together"]["rate"] for run in runs),
        **{name: statistics.median(run[name]["p50"] for run in runs) for name in CONNECTIONS},
        "errors": sum(each["errors"] for run in runs for each in run.values()),
    }


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
def running(command: list[str], health: str, extra: Mapping[str, str]) -> Iterator[None]:
    """A server process, from its first healthy answer to the end of the block."""
    process = subprocess.Popen(
        command, env={**os.environ, **extra}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 120
        while not healthy(health):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{command[0]} did not start.")
            time.sleep(0.2)
        yield
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
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.seconds, given.rounds)
