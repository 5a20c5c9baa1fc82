"""How long `pumice serve` takes to be there, and what it holds while nobody asks.

    python -m benchmarks.startup [--rounds 20]

A round starts a server, waits for its first healthy answer, and asks one question: the engine starts for it. All files
are on this machine and have been read before, so what is measured is processes, not disks. For scale, a Python that
imports FastAPI and uvicorn and does nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.pairs import ROUNDS, in_turns, median
from benchmarks.performance import Part, Row, record
from pumice.bases import resolve
from pumice.config import Home

PORT = 8915
URL = f"http://127.0.0.1:{PORT}"
QUESTION = {"messages": [{"role": "user", "content": "What floats on water?"}], "max_tokens": 1}
SCALE = "import fastapi, uvicorn, sys; print('there', flush=True); sys.stdin.readline()"


def measure(rounds: int = ROUNDS) -> Part:
    """Both in turns, after a round that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        base = resolve.resolve(resolve.DEFAULT, Home(Path(folder))).name
        serve(folder, base)
        found = in_turns({"pumice serve": lambda: serve(folder, base), "FastAPI and uvicorn, imported": bare}, rounds)
    rows = [Row(name, {heading: median(values) for heading, values in each.items()}) for name, each in found.items()]
    how = (
        f"{rounds} starts of `pumice serve`, each with one question to `{base}`: from the start of the process to the "
        "first healthy answer; what its processes hold then; from the question to the first answer, for which an "
        "engine starts; and what all hold after it. Files had been read before; memory in common is counted once."
    )
    return Part(how, rows, ())


def serve(folder: str, model: str) -> dict[str, float]:
    """A server's start, its memory, its first answer, and the memory after it."""
    command = [sys.executable, "-m", "pumice", "serve", "--port", str(PORT)]
    environment = {**os.environ, "PUMICE_HOME": folder}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(timeout=120) as client:
            while not healthy(client):
                if process.poll() is not None or time.perf_counter() - began > 120:
                    raise SystemExit("pumice serve did not start.")
                time.sleep(0.01)
            found = {"start s": time.perf_counter() - began}
            time.sleep(1)
            found["idle MB"] = held(process.pid)
            began = time.perf_counter()
            client.post(f"{URL}/v1/chat/completions", json={"model": model, **QUESTION}).raise_for_status()
            found["first answer s"] = time.perf_counter() - began
            found["MB with its engine"] = held(process.pid)
    finally:
        process.terminate()
        process.wait(60)
    return found


def bare() -> dict[str, float]:
    """The same two for a process that imports the web libraries alone."""
    began = time.perf_counter()
    command = [sys.executable, "-c", SCALE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdin
        process.stdout.readline()
        found = {"start s": time.perf_counter() - began, "idle MB": held(process.pid)}
        process.stdin.close()
    return found


def healthy(client: httpx.Client) -> bool:
    """Whether the server answers."""
    try:
        return client.get(f"{URL}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def held(pid: int) -> float:
    """Megabytes of a process and all below it; what they share is counted once where the system tells."""
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    if sys.platform == "linux":
        return sum(one.memory_full_info().pss for one in family) / 1e6
    return sum(one.memory_info().rss for one in family) / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    record("startup", measure(parser.parse_args().rounds))
