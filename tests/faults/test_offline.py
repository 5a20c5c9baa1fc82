"""With the network gone every local path works: in a namespace without any interface, not even loopback is up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ALONE = ("unshare", "--map-root-user", "--net")


def namespaces() -> bool:
    """Whether this machine lets a process leave the network."""
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not namespaces(), reason="this machine forbids network namespaces")
def test_run_chat_and_export_without_a_network(pumice: object, recipe: Path) -> None:
    assert callable(pumice)
    with pytest.raises(subprocess.CalledProcessError):
        reach = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
        subprocess.run([*ALONE, "python3", "-c", reach], check=True, capture_output=True)
    ran = pumice("run", recipe, "--json", before=ALONE)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["model"] == "facts@1"
    said = pumice("chat", "facts", "--prompt", "What is fact 3?", "--max-tokens", "8", before=ALONE)
    assert said.returncode == 0, said.stderr
    out = recipe.parent / "facts.gguf"
    exported = pumice("models", "export", "facts", "--out", out, "--json", before=ALONE)
    assert exported.returncode == 0, exported.stderr
    assert out.stat().st_size > 1_000_000
