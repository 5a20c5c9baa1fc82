"""The process that keeps `vllm serve` on a socket: it ends with its parent, and takes vLLM's own processes with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import httpx

from pumice.engine.leash import Leash, read_orders

_CAUSE = "Error: "
"""What a line with the reason holds; the last line of a log only says that there is one."""


def main() -> None:
    """Serve until the parent ends, or vLLM does."""
    # They are of this process's group, and would outlive it: vLLM's engine does not notice that its server is gone.
    leash = Leash(last=lambda: os.killpg(0, signal.SIGKILL))
    orders = read_orders()
    command = [orders["program"], "serve", *orders["arguments"], "--uds", orders["socket"]]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **orders["environment"]})
    if _comes_up(process, orders["socket"]):
        leash.announce()
        process.wait()
    else:
        print(_cause(), flush=True)
    os.killpg(0, signal.SIGKILL)


def _comes_up(process: subprocess.Popen[bytes], socket: str) -> bool:
    """Wait until it answers; False when it ends before."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://engine", timeout=10) as http:
        while process.poll() is None:
            try:
                if http.get("/health").status_code == 200:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    return False


def _cause() -> str:
    """The line of the log, which is this process's own stderr, that names the reason."""
    log = Path(f"/proc/{os.getpid()}/fd/2")
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    causes = [line for line in lines if _CAUSE in line and "root cause" not in line]
    return causes[-1].rpartition(") ")[2] if causes else "vLLM ended without a word."


if __name__ == "__main__":
    main()
