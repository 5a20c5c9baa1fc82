"""What the commands on methods and reports print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pumice.cli import app
from pumice.config import Home
from pumice.jobs.queue import Queue
from pumice.records import Event
from pumice.store.tables import open_database
from pumice.train.methods import METHODS


def test_methods_are_listed_with_all_that_chooses_between_them() -> None:
    rows = json.loads(CliRunner().invoke(app, ["methods", "--json"], catch_exceptions=False).stdout)
    assert [row["method"] for row in rows] == list(METHODS)
    assert all(all(row.values()) for row in rows)
    assert rows[0]["paper"].startswith("Hu et al. 2021, LoRA, arXiv:2106.09685")
    # A terminal is narrow: it gets who, when and where, without the titles.
    command, wide = Path(sys.executable).with_name("pumice"), {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    run = subprocess.run([command, "methods"], env=wide, capture_output=True, text=True, check=True)
    shown = " ".join(run.stderr.split())
    assert "Hu et al. 2021, arXiv:2106.09685" in shown and "Direct Preference Optimization" not in shown


def test_a_report_begins_with_the_first_number_that_was_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(home.root))
    database = open_database(home.database)
    queue = Queue(database, home)
    job = queue.submit("run", {"data": "x", "name": "faq"})
    for step, told in enumerate(({}, {"margin": 0.5}, {"margin": 2.0}), 1):
        queue.append(job.id, Event("step", {"step": step, "loss": 3.0 / step, "metrics": told}))
    shown = CliRunner().invoke(app, ["report", job.id], catch_exceptions=False).stderr
    database.dispose()
    assert "loss: 3.000 -> 1.000 in 3 steps" in shown
    assert "margin: 0.500 -> 2.000 in 3 steps" in shown
