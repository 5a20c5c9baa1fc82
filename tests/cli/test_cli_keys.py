"""A key's budget is changed from the terminal, and what was said of it is what counts."""

from __future__ import annotations

import orjson
import pytest
from typer.testing import CliRunner

from pumice.cli import app
from pumice.config import Home
from pumice.errors import NotFoundError


def test_a_key_gets_another_budget(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(home.root))
    runner = CliRunner()

    def limits() -> tuple[int | None, int | None]:
        [key] = orjson.loads(runner.invoke(app, ["keys", "list", "--json"]).stdout)
        return key["requests_per_minute"], key["tokens_per_day"]

    runner.invoke(app, ["keys", "create", "laptop", "--requests-per-minute", "9"])
    assert limits() == (9, None)
    said = runner.invoke(app, ["keys", "limit", "laptop", "--tokens-per-day", "50000"])
    assert "(laptop) may ask 50,000 tokens a day." in said.stderr and limits() == (None, 50_000)
    assert "as much as it wants" in runner.invoke(app, ["keys", "limit", "laptop"]).stderr and limits() == (None, None)
    assert isinstance(runner.invoke(app, ["keys", "limit", "lapdog"]).exception, NotFoundError)
