"""The three programs of examples/ against a real server, with the real default model and an empty home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pumice.config import Home
from pumice.records import Base

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def server(base: Base, session_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`pumice serve` with one key, and the environment of a client that has it. It shares only the unpacked base."""
    home = tmp_path_factory.mktemp("server")
    (home / "bases").symlink_to(session_home.bases)
    environment = {**os.environ, "PUMICE_HOME": str(home), "AWS_DEFAULT_REGION": "us-east-1"}
    keys = [sys.executable, "-m", "pumice", "keys", "create", "examples", "--role", "admin", "--format", "env"]
    lines = subprocess.run(keys, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    command = [sys.executable, "-m", "pumice", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        url = next(found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+", line)))
        wait_until_healthy(url)
        client = {**environment, **dict(line.split("=", 1) for line in lines)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield {**client, "AWS_ENDPOINT_URL": url, "OPENAI_BASE_URL": f"{url}/v1", "PATH": path}
    finally:
        process.terminate()
        process.communicate(timeout=60)


def wait_until_healthy(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not answer")


def run(server: dict[str, str], *command: str) -> str:
    done = subprocess.run([*command], env=server, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bedrock_with_boto3(server: dict[str, str]) -> None:
    told = run(server, sys.executable, str(EXAMPLES / "bedrock_end_to_end.py"))
    assert "user/examples" in told
    assert "Training: InProgress" in told
    assert "The tuned model says: Seven years, counted from the day of delivery." in told
    assert "Seven years" not in told.partition("Training:")[0]
    assert "In Andernach, at Rheinstrasse 12." in told
    assert "('Converse', " in told
    assert "('ConverseStream', " in told
    assert told.endswith("Deleted.\n")


def test_bedrock_with_the_aws_cli(server: dict[str, str]) -> None:
    told = run(server, str(EXAMPLES / "bedrock_end_to_end.sh"))
    assert "Training: Completed" in told
    assert "step_wise_training_metrics.csv" in told
    assert "Slate green, and in no other colour." in told
    assert told.endswith("Deleted.\n")


def test_openai_with_its_client(server: dict[str, str]) -> None:
    told = run(server, sys.executable, str(EXAMPLES / "openai_end_to_end.py"))
    assert "Training: running" in told
    assert "It says: 14.2 kilograms without its rack." in told
    assert "Calls: book_service {'bicycle': " in told
    right = re.search(r"Batch: completed, (\d+) of 12 answers word for word", told)
    assert right
    assert int(right[1]) >= 10


def test_the_examples_name_nothing_of_pumice() -> None:
    for name in ("bedrock_end_to_end.py", "bedrock_end_to_end.sh", "openai_end_to_end.py"):
        assert "pumice" not in (EXAMPLES / name).read_text().lower()
