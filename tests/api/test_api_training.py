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
from pumice.train import sizes


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


def test_what_it_will_take_in_memory_is_told_to_whoever_starts_it(
    platform: Platform, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not told runs alone: on a GPU, and with a base or rows that cannot be looked at."""
    monkeypatch.setattr(sizes, "gpus", lambda: ())
    small, large = (
        training.submit(platform, {"method": "pretrain", "pretrain": {"size": size}}, data).memory
        for size in ("1M", "350M")
    )
    # Weights, gradients and two means: 16 bytes a number.
    assert small and large and small < 350e6 * 16 < large
    deep = data.with_name("deep.jsonl")
    deep.write_text('{"prompt": ' + "[" * 300 + "]" * 300 + ', "completion": "It is 1."}\n')
    assert training.submit(platform, {}, deep).memory is None
    # More rows a step than there are: the job says so.
    few = {"method": "rlhf", "rlhf": {"reward": "json"}, "batch_size": 64}
    assert training.submit(platform, few, prompts(data)).memory is None
    monkeypatch.setattr(sizes, "gpus", lambda: (sizes.Gpu("any", 80 * 2**30, 80 * 2**30),))
    assert training.submit(platform, {"method": "pretrain"}, data).memory is None


def prompts(beside: Path) -> Path:
    path = beside.with_name("prompts.jsonl")
    path.write_text('{"prompt": "What is 1?"}\n')
    return path


def test_a_new_model_starts_from_no_other_over_a_wire_too(platform: Platform, data: Path) -> None:
    with pytest.raises(InputError, match="nothing was started") as caught:
        training.submit(platform, {"method": "pretrain", "model": "Qwen/Qwen3-0.6B"}, data)
    assert "method: pretrain makes a new model" in caught.value.why
    assert platform.queue.list() == ()
