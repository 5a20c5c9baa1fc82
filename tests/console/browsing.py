"""Runs one of `web/browser`'s test files in real Chromium."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pumice.api.console.bundle import STATIC

WEB = Path(__file__).parents[2] / "web"
SECONDS = 1500


def ready() -> bool:
    """Whether the console is built, with its packages beside its source."""
    return (WEB / "node_modules").is_dir() and (STATIC / "index.html").is_file()


def browse(name: str, **where: str) -> None:
    """The test's file, told in `CONSOLE_…` where the console is. Fails with what it said."""
    command = ["npx", "vitest", "run", "--config", "browser/vitest.config.ts", f"browser/{name}.test.ts"]
    told = {f"CONSOLE_{key.upper()}": value for key, value in where.items()}
    done = subprocess.run(
        command, cwd=WEB, env={**os.environ, **told}, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
