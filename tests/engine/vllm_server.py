"""vLLM as somebody else would run it: on a port, allowed to load adapters. What it prints is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx


class VllmServer:
    """One that can be ended and started again on the same port."""

    def __init__(self, program: Path, model: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        own = f"--host 127.0.0.1 --port {self.port} --served-model-name {model.name}"
        cpu = "--dtype float32 --enforce-eager --max-model-len 512 --generation-config vllm"
        lora = "--enable-lora --max-loras 2 --max-cpu-loras 32"
        # A random model would write nothing but spaces.
        form = ["--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}']
        self._command = [str(program), "serve", str(model), *f"{own} {cpu} {lora}".split(), *form]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it listens."""
        own = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, **own, "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(self._command, env=environment, process_group=0, **quiet)
        while not self._listens():
            assert self._process.poll() is None, "vLLM did not start"
            time.sleep(0.2)

    def _listens(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """At once, with its own processes."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
