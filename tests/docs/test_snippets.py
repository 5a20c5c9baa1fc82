"""Every Python block in the documents runs against a real server, as somebody who copies it would run it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
ADDRESS = re.compile(r"http://(?:localhost|127\.0\.0\.1):8080")
NAMES = ('"faq"', '"my-model"')
"""Models of the reader's own, for which the default base answers here."""
TRAINS = ("fine_tuning.jobs.create", "create_model_customization_job", "create_training_job")
"""What takes minutes: tests/end_to_end does it, with the same calls."""


def snippets() -> list[tuple[str, str]]:
    """Every block of Python, with the page and line that it is on."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
            found.append((f"{page.name}:{text.count(chr(10), 0, block.start()) + 1}", block[1]))
    return found


def missing(code: str) -> set[str]:
    """The libraries that a block imports and that are not installed."""
    roots = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.partition(".")[0])
    return {name for name in roots if find_spec(name) is None}


MOST_SECONDS = 400
"""Only so that a snippet that hangs is told from one that is slow."""


@pytest.fixture(scope="module")
def client(base: Base, session_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of `pumice serve`, with one key of its own."""
    home = tmp_path_factory.mktemp("server")
    (home / "bases").symlink_to(session_home.bases)
    environment = {**os.environ, "PUMICE_HOME": str(home), "AWS_DEFAULT_REGION": "us-east-1"}
    keys = [sys.executable, "-m", "pumice", "keys", "create", "me", "--role", "admin", "--format", "env"]
    lines = subprocess.run(keys, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    command = [sys.executable, "-m", "pumice", "serve", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        url = next(found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+", line)))
        secrets = dict(line.split("=", 1) for line in lines)
        yield {**environment, **secrets, "AWS_ENDPOINT_URL": url, "OPENAI_BASE_URL": f"{url}/v1"}
    finally:
        process.terminate()
        process.wait(60)
        assert process.stderr
        process.stderr.close()


@pytest.mark.parametrize(("place", "code"), snippets(), ids=lambda value: value if "\n" not in value else "")
def test_a_snippet_runs(place: str, code: str, client: dict[str, str], tmp_path: Path) -> None:
    compile(code, place, "exec")
    if any(call in code for call in TRAINS):
        pytest.skip("it trains: tests/end_to_end does the same")
    if "import " not in code:
        pytest.skip("a fragment of a program, whose names it does not make")
    if absent := missing(code):
        pytest.skip(f"{', '.join(absent)} is not installed; the page says what was tried")
    code = ADDRESS.sub(client["AWS_ENDPOINT_URL"], code)
    # A key exists, so the words that stand for one are replaced by it.
    code = re.sub(r'api_key="[^"]*"', f'api_key="{client["OPENAI_API_KEY"]}"', code)
    for name in NAMES:
        code = code.replace(name, f'"{resolve.DEFAULT}"')
    done = subprocess.run(
        [sys.executable, "-c", code], env=client, cwd=tmp_path, capture_output=True, text=True, timeout=MOST_SECONDS
    )
    assert done.returncode == 0, f"{place}\n{done.stderr}"


def test_there_are_snippets_to_run() -> None:
    assert len(snippets()) > 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_examples_and_scripts_are_there(page: Path) -> None:
    for name in re.findall(r"\b(?:examples|scripts)/[\w.-]+\.\w+", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"
