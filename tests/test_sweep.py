"""A sweep tries the values it was given, once each, and names the best by what was held out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
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
from pumice.sweep import Values, best, judged, parse, plan, sweep
from pumice.train.recipe import Recipe, change, make_recipe

PRETRAIN = {"method": "pretrain"}


def test_values_are_read_from_words() -> None:
    assert parse(["lora.r=8,16", "learning_rate=1e-4..1e-2"]) == (
        Values("lora.r", ("8", "16")),
        Values("learning_rate", (), 1e-4, 1e-2),
    )
    # Lists are values too, and only two numbers make a range.
    assert parse(["lora.targets=[q_proj,v_proj], all-linear", 'rlhf.reward=exact,"regex:[a,b]"', "data=../a,../b"]) == (
        Values("lora.targets", ("[q_proj,v_proj]", "all-linear")),
        Values("rlhf.reward", ("exact", '"regex:[a,b]"')),
        Values("data", ("../a", "../b")),
    )
    targets = [
        change(make_recipe({"data": "d"}), each).lora for each in plan(parse(["lora.targets=[q],all-linear"]), None, 0)
    ]
    assert [knobs and knobs.targets for knobs in targets] == [("q",), "all-linear"]


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["lora.r"], "write KEY=VALUE,VALUE or KEY=LOW..HIGH"),
        (["lora.r= "], "write KEY=VALUE,VALUE or KEY=LOW..HIGH"),
        (["lora.r=8,,16"], "8,,16 cannot be read as values"),
        (["lora.targets=[q_proj,v_proj"], "cannot be read as values"),
        (["lora.r=8", "lora.r=16"], "lora.r is given twice"),
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


def test_a_range_repeats_nothing_either() -> None:
    assert sorted(each["lora.r"] for each in plan(parse(["lora.r=8..9"]), 4, 0)) == ["8", "9"]
    drawn = plan(parse(["lora.r=1..6", "epochs=1,2"]), 12, 0)
    assert len({tuple(each.items()) for each in drawn}) == 12


def test_a_trial_that_failed_is_shown_with_its_error() -> None:
    job = Job("j1", "run", JobState.FAILED, {}, datetime.now(UTC), error="The disk is full.")
    shown = judged({"lora.r": "8"}, job, lambda name: pytest.fail(name)).to_json()
    assert shown == {"settings": {"lora.r": "8"}, "job": "j1", "model": None, "error": "The disk is full."}


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
    found = list(sweep(recipe, plan(parse(["learning_rate=1e-7,1e-2"]), None, 0), None, run, registry.find, home))
    winner = best(found)
    assert [each.settings["learning_rate"] for each in found] == ["1e-7", "1e-2"]
    assert winner is not None and winner.settings == {"learning_rate": "1e-2"} and winner.name == "loss"
    assert winner.score == max(each.score for each in found) and found[0].score < found[1].score
    assert winner.model == "data@2"
    # No time, no trial; a mistake in one value costs no run.
    assert list(sweep(recipe, [{"epochs": "1"}], 0.0, run, registry.find, home)) == []
    with pytest.raises(InputError, match="epochs = "):
        list(sweep(recipe, [{"epochs": "1"}, {"epochs": "-1"}], None, run, registry.find, home))

    # Nor does a value that is no YAML, or a method that would ask first.
    def never(varied: Recipe) -> Job:
        pytest.fail("a trial was run")

    for values, sentence in (
        ({"lora.targets": "[q"}, r"lora.targets=\[q cannot be read"),
        (PRETRAIN, "cannot be swept"),
        ({"epochs": "2"}, "No rows of .*data.jsonl are held out"),
    ):
        with pytest.raises(InputError, match=sentence):
            list(sweep(make_recipe({"data": recipe.data}), [{"epochs": "1"}, values], None, never, registry.find, home))
    database.dispose()
