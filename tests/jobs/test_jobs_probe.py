"""The 1 % question: three short runs, resumable, whose forecast is shown before anything is trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumice import show
from pumice.config import Home
from pumice.errors import InputError, StoppedError
from pumice.jobs import probe as probes
from pumice.jobs.queue import Queue
from pumice.records import Event, Job
from pumice.store.tables import open_database
from pumice.train import scaling
from pumice.train.recipe import Recipe, make_recipe

DATA = Path(__file__).parents[2] / "recipes" / "data"
VALUES: dict[str, Any] = {
    "method": "pretrain",
    "pretrain": {"size": "1M", "vocabulary": 512},
    "max_length": 32,
    "epochs": 12,
    "save_steps": 1000,
}


def recipe(**values: Any) -> Recipe:
    return make_recipe({"data": str(DATA / "domain.md"), **VALUES, **values})


@pytest.fixture
def submit(home: Home) -> Callable[..., Job]:
    queue = Queue(open_database(home.database), home)
    return lambda **values: queue.submit("probe", recipe(**values).model_dump(mode="json"))


def test_three_runs_are_made_once_and_say_what_the_whole_one_reaches(
    submit: Callable[..., Job], home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    job, events = submit(), list[Event]()

    def made() -> int:
        return len([event for event in events if event.kind == "step" and event.data["step"] == event.data["steps"]])

    with pytest.raises(StoppedError):
        probes.probe(job, home, events.append, lambda: made() >= 1)
    folder = home.jobs / job.id
    (done,) = (folder / "probe").glob("*/point.json")
    first, told = done.read_text(), len(events)
    probes.probe(job, home, events.append, lambda: False)
    assert done.read_text() == first
    # The first run was not made again, and no weights are kept.
    assert sum(event.kind == "step" and event.data["step"] == 1 for event in events[told:]) == 1
    assert not list((folder / "probe").rglob("*.safetensors"))

    kept = scaling.kept(folder)
    assert kept and events[-1] == Event("probe", kept.to_json())
    sizes = [point.tokens for point in kept.points]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3
    assert kept.untrained > kept.points[0].loss > kept.points[2].loss
    assert "too few" in kept.warning
    assert kept.costs[0].hours > 0 and kept.costs[0].dollars is None

    story = show.Story()
    for event in events:
        story.tell(event)
    shown = capsys.readouterr().err
    assert f"{sizes[2]:,}" in shown and "perplexity" in shown and "p5.4xlarge (H100)" in shown


def test_what_was_foretold_stands_beside_what_was_reached(tmp_path: Path) -> None:
    assert scaling.foreseen(tmp_path, 3.0) == ""
    points = [scaling.Point(1000 * 2**n, 8.0 - n, 10.0) for n in range(3)]
    found = scaling.probe(9.0, points, 1_000_000, 1000)
    (tmp_path / scaling.FILE).write_text(json.dumps(found.to_json()))
    line = scaling.foreseen(tmp_path, 3.0)
    assert found.forecast and f"foretold a loss of {found.forecast.loss:.2f}" in line and line.endswith("it is 3.00.")


def test_too_little_text_is_refused(submit: Callable[..., Job], home: Home, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("One line of text.\nAnd another.\n")
    with pytest.raises(InputError, match=r"fills 2 windows of 32 tokens") as caught:
        probes.probe(submit(data=str(tmp_path / "few.txt")), home, lambda _: None, lambda: False)
    assert "method: cpt" in caught.value.fix


@pytest.mark.parametrize("command", ["run", "train"])
def test_nobody_to_ask_is_told_before_anything_is_made(tmp_path: Path, command: str) -> None:
    text = "method: pretrain\ndata: " + str(DATA / "domain.md") + "\n"
    (tmp_path / "new.yaml").write_text(text)
    program = [sys.executable, "-m", "pumice", command, str(tmp_path / "new.yaml")]
    environment = {**os.environ, "PUMICE_HOME": str(tmp_path / "home")}
    nobody: dict[str, Any] = {"env": environment, "stdin": subprocess.DEVNULL}
    ended = subprocess.run(program, **nobody, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "no terminal to answer at" in ended.stderr and "--yes" in ended.stderr
    assert not list((tmp_path / "home").glob("jobs/*"))
