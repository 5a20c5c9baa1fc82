"""A llama-server as somebody else would run it: on a port, with an ordinary file. `llama_server.py SETTINGS` serves."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path


class LlamaServer:
    """One that can be ended and started again on the same port."""

    def __init__(self, model: Path, adapters: Mapping[str, Path], alias: str, key: str | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        paths = [str(path) for path in adapters.values()]
        self._settings = {"model": str(model), "adapters": paths, "port": self.port, "alias": alias, "key": key}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Until it listens."""
        command = [sys.executable, __file__, json.dumps(self._settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "listening\n"

    def kill(self) -> None:
        """At once."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


def main() -> None:
    """Serve until stdin ends."""
    import xllamacpp

    from pumice.engine.llamacpp_child import parameters

    settings = json.loads(sys.argv[1])
    own = {"model": settings["model"], "adapters": settings["adapters"], "socket": "127.0.0.1"}
    params = parameters({**own, "slots": 4, "context": 512, "threads": 1, "exact": True})
    params.port, params.model_alias = settings["port"], {settings["alias"]}
    if settings["key"]:
        params.api_keys = [settings["key"]]
    server = xllamacpp.Server(params)
    print("listening", flush=True)
    ended = threading.Thread(target=sys.stdin.read)
    ended.start()
    ended.join()
    del server


if __name__ == "__main__":
    main()
