"""Whether reserved capacity keeps its speed: tokens a second of a provisioned model, alone and beside other load.

    python -m benchmarks.provisioned [--rounds 3]

The load is streams on demand, and a busy process as low as a trainer. The same load is put beside an on-demand stream,
to show what a reservation is for. Quiet and loaded rounds take turns; the ratios of medians are what counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from benchmarks.front import running
from pumice.bases import resolve
from pumice.config import Home

PORT = 8914
STREAMS = 3
TOKENS = 96
QUESTION = [{"role": "user", "content": [{"text": "Tell a long story about a stone that could float on water."}]}]


def main(rounds: int) -> dict[str, float]:
    """Print tokens a second and ratios; returns the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        base = resolve.resolve(resolve.DEFAULT, Home(Path(folder))).name
        command = [sys.executable, "-m", "pumice", "serve", "--port", str(PORT)]
        with running(command, f"http://127.0.0.1:{PORT}/healthz", {"PUMICE_HOME": folder}):
            reserved = provision(base)
            for name in (base, reserved):
                speed(name)
            found = measure({"on demand": base, "provisioned": reserved}, base, rounds)
    ratios = {}
    print(f"{'tokens a second':16} {'alone':>8} {'loaded':>8} {'kept':>6}")
    for name, (alone, loaded) in found.items():
        ratios[name] = loaded / alone
        print(f"{name:16} {alone:8.1f} {loaded:8.1f} {ratios[name]:6.0%}")
    return ratios


def measure(models: dict[str, str], base: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Medians alone and under load, by name."""
    alone: dict[str, list[float]] = {name: [] for name in models}
    loaded: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            alone[name].append(speed(model))
        with load(base):
            for name, model in models.items():
                loaded[name].append(speed(model))
    return {name: (statistics.median(alone[name]), statistics.median(loaded[name])) for name in models}


def client(name: str) -> Any:
    """boto3's, for the server here."""
    url = f"http://127.0.0.1:{PORT}"
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client(name, endpoint_url=url, **keys)


def provision(base: str) -> str:
    """The ARN of reserved capacity for `base`, in service."""
    bedrock = client("bedrock")
    made = bedrock.create_provisioned_model_throughput(provisionedModelName="bench", modelId=base, modelUnits=1)
    arn = str(made["provisionedModelArn"])
    while (status := bedrock.get_provisioned_model_throughput(provisionedModelId=arn)["status"]) == "Creating":
        time.sleep(0.2)
    assert status == "InService", status
    return arn


def speed(model: str) -> float:
    """Tokens a second of one stream, from its first piece to its last."""
    asked = {"maxTokens": TOKENS, "temperature": 0.0}
    stream = client("bedrock-runtime").converse_stream(modelId=model, messages=QUESTION, inferenceConfig=asked)
    times = [time.perf_counter() for event in stream["stream"] if "contentBlockDelta" in event]
    return (len(times) - 1) / (times[-1] - times[0])


@contextmanager
def load(base: str) -> Iterator[None]:
    """Streams on demand one after the other, and a process that takes what is left."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            speed(base)

    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.nice(19))
    threads = [threading.Thread(target=ask) for _ in range(STREAMS)]
    for each in threads:
        each.start()
    time.sleep(2)
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join()
        busy.kill()
        busy.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args().rounds)
