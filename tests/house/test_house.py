"""The house keeps its rules, and the rules notice when it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from house_rules import breaches

PACKAGE = Path(__file__).parents[2] / "pumice"


def test_the_house_keeps_its_rules() -> None:
    assert list(breaches(PACKAGE)) == []


@pytest.mark.parametrize(
    ("place", "source", "sentence"),
    [
        ("data/x.py", "from pumice.engine import pool\n", "data imports engine, a later room"),
        ("data/x.py", "import torch\n", "imports torch; only"),
        ("data/x.py", "def f():\n    import json\n", "imports json inside a function"),
        ("data/x.py", "y = getattr(x, 'known')\n", "getattr with a known name"),
        ("data/x.py", "try:\n    f()\nexcept Exception:\n    pass\n", "a broad except"),
        ("attic/x.py", "", "attic is no room"),
    ],
)
def test_a_breach_is_named(tmp_path: Path, place: str, source: str, sentence: str) -> None:
    path = tmp_path / "pumice" / place
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert sentence in "\n".join(breaches(tmp_path / "pumice"))


@pytest.mark.parametrize(
    "module",
    [
        "pumice.api.app",
        "pumice.train.methods",
        "pumice.train.sizes",
        "pumice.train.recipe",
        "pumice.cli",
        "pumice.show_deploy",
    ],
)
def test_no_torch_where_nobody_pays_for_it(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'trl', 'peft') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
