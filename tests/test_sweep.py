"""A sweep tries the values it was given, once each, and names the best by what was held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pumice import pipeline
from pumice.config import Home
from pumice.errors import InputError
from pumice.jobs.queue import Queue
from pumice.records import Base, Job, JobState
from pumice.registry.models import Registry
from pumice.store.tables import open_database
from pumice.sweep import Values, best, parse, plan, sweep
from pumice.train.recipe import Recipe, make_recipe


def test_values_are_read_from_words() -> None:
    assert parse(["lora.r=8,16", "learning_rate=1e-4..1e-2"]) == (
        Values("lora.r", ("8", "16")),
        Values("learning_rate", (), 1e-4, 1e-2),
    )


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["lora.r"], "write KEY=VALUE,VALUE or KEY=LOW..HIGH"),
        (["lora.r=a..b"], "a and b are no numbers"),
        (["lora.r=9..3"], "9 is not below 3"),
        ([], "Nothing varies"),
    ],
)
def test_words_that_are_no_values_are_told(texts: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse(texts)


def test_a_grid_is_run_whole_or_drawn_from_without_repeats() -> None:
    space = parse(["lora.r=8,16", "epochs=1,2,3"])
    grid = plan(space, None, 0)
    assert len(grid) == 6 and grid[0] == {"lora.r": "8", "epochs": "1"}
    drawn = plan(space, 4, 0)
    assert len({tuple(each.items()) for each in drawn}) == 4 and drawn == plan(space, 4, 0) != plan(space, 4, 1)
    assert plan(space, 99, 0) == grid


def test_a_range_is_drawn_from_within_its_ends() -> None:
    space = parse(["learning_rate=1e-4..1e-2", "lora.r=4..64"])
    with pytest.raises(InputError, match=r"learning_rate, lora.r has endlessly many values"):
        plan(space, None, 0)
    drawn = plan(space, 200, 0)
    rates = sorted(float(each["learning_rate"]) for each in drawn)
    assert rates[0] >= 1e-4 and rates[-1] <= 1e-2
    # Evenly in the logarithm: about half lie below the geometric middle.
    assert 70 < sum(rate < 1e-3 for rate in rates) < 130
    assert all(4 <= int(each["lora.r"]) <= 64 for each in drawn)


@pytest.fixture
def bench(home: Home, tiny: Base, tmp_path: Path) -> tuple[Recipe, Queue, Registry, Engine]:
    """A recipe on a tiny base with a validation file, and the rooms that a run needs."""
    rows = [{"text": f"the door is {word} and the wall is {word}"} for word in ("red", "green", "blue", "white")]
    for name in ("data", "more"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    database = open_database(home.database)
    values = {"data": str(tmp_path / "data.jsonl"), "validation": str(tmp_path / "more.jsonl")}
    recipe = make_recipe({**values, "model": str(tiny.folder), "batch_size": 4, "gradient_accumulation": 1})
    return recipe, Queue(database, home), Registry(database, home), database


def test_the_best_trial_is_the_one_that_did_best_on_what_was_held_out(
    bench: tuple[Recipe, Queue, Registry, Engine], home: Home
) -> None:
    recipe, queue, registry, database = bench

    def run(varied: Recipe) -> Job:
        job = queue.submit("run", varied.model_dump(mode="json"))
        model = pipeline.run(job, home, lambda event: None, lambda: False)
        return Job(**{**vars(job), "state": JobState.SUCCEEDED, "model": model.id})

    # Small steps learn next to nothing, so the second trial must win.
    found = list(sweep(recipe, plan(parse(["learning_rate=1e-7,1e-2"]), None, 0), None, run, registry.find))
    winner = best(found)
    assert [each.settings["learning_rate"] for each in found] == ["1e-7", "1e-2"]
    assert winner is not None and winner.settings == {"learning_rate": "1e-2"} and winner.name == "loss"
    assert winner.score == max(each.score for each in found) and found[0].score < found[1].score
    assert winner.model == "data@2"
    # No time, no trial; a mistake in one value costs no run.
    assert list(sweep(recipe, [{"epochs": "1"}], 0.0, run, registry.find)) == []
    with pytest.raises(InputError, match="epochs = "):
        list(sweep(recipe, [{"epochs": "1"}, {"epochs": "-1"}], None, run, registry.find))
    database.dispose()
