"""Jobs of every wire go in by one door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pumice.api import training
from pumice.api.platform import Platform, open_platform
from pumice.config import Home
from pumice.errors import InputError
from pumice.store.tables import open_database


@pytest.fixture
def platform(home: Home) -> Iterator[Platform]:
    """The rooms, with nothing running beside them."""
    opened = open_platform(home, open_database(home.database))
    yield opened
    opened.log.close()
    opened.database.dispose()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("Some text to learn from.\n")
    return path


@pytest.mark.parametrize(("method", "notes"), [("pretrain", [training.UNASKED]), ("cpt", [])])
def test_a_new_model_is_begun_unasked_and_its_story_says_so(
    platform: Platform, data: Path, method: str, notes: list[str]
) -> None:
    job = training.submit(platform, {"method": method, "name": "new"}, data)
    events, _ = platform.queue.read_events(job.id)
    assert [event.data["text"] for event in events] == notes
    assert job.spec["method"] == method and job.task == "run"


def test_a_new_model_starts_from_no_other_over_a_wire_too(platform: Platform, data: Path) -> None:
    with pytest.raises(InputError, match="nothing was started") as caught:
        training.submit(platform, {"method": "pretrain", "model": "Qwen/Qwen3-0.6B"}, data)
    assert "method: pretrain makes a new model" in caught.value.why
    assert platform.queue.list() == ()
