"""What the demo model is taught: well formed, answerable, and true of this version."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from pumice.config import Home, Settings
from pumice.data.rows import FIRST
from pumice.engine import hf, llamacpp
from pumice.evaluate.compare import RESAMPLES
from pumice.evaluate.score import exact_match
from pumice.evaluate.trial import MOST
from pumice.records import Stage
from pumice.train.methods.lora import Lora

ROOT = Path(__file__).parents[1]
HANDBOOK = ROOT / "pumice" / "handbook"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (HANDBOOK / name).read_text("utf-8").splitlines()]


FACTS, PHRASINGS = read("facts.jsonl"), read("phrasings.jsonl")


def test_every_row_is_a_short_question_with_a_short_answer() -> None:
    for row in FACTS + PHRASINGS:
        assert row.keys() == {"prompt", "completion"}
        assert row["prompt"].endswith("?")
        assert len(row["prompt"].split()) <= 14
        assert 1 <= len(row["completion"].split()) <= 6


def test_no_question_stands_twice_or_on_both_sides() -> None:
    asked = Counter(row["prompt"].casefold() for row in FACTS + PHRASINGS)
    assert [question for question, count in asked.items() if count > 1] == []


def test_each_fact_is_held_out_once_and_most_are_trained_in_two_phrasings() -> None:
    trained = Counter(row["completion"] for row in FACTS)
    held_out = Counter(row["completion"] for row in PHRASINGS)
    assert trained.keys() == held_out.keys()
    assert set(held_out.values()) == {1}
    assert set(trained.values()) == {1, 2}
    assert 50 <= len(PHRASINGS) <= 70
    assert Counter(trained.values())[2] >= 0.8 * len(PHRASINGS)


def test_no_two_answers_count_as_the_same() -> None:
    answers = [row["completion"] for row in PHRASINGS]
    assert [(a, b) for i, a in enumerate(answers) for b in answers[:i] if exact_match(a, b)] == []


@pytest.mark.parametrize(
    ("question", "truth"),
    [
        ("What is the port of the Pumice server?", str(Settings.port)),
        ("To which address does pumice serve bind?", Settings.host),
        ("Which file is the database?", Path(Home(Path("/home")).database).name),
        ("Which folder can be deleted at will?", Home(Path("/home")).cache.name),
        ("Under which licence is Pumice released?", PROJECT["license"]),
        ("Which Python version does Pumice need?", PROJECT["requires-python"].removeprefix(">=")),
        ("What is the default LoRA rank?", str(Lora().r)),
        ("What is the default alpha of LoRA?", f"{Lora().resolved().alpha:g}"),
        ("Which layers does LoRA adapt?", f"{str(Lora().targets).replace('-', ' ')} layers"),
        ("What is the first stage of a new version?", next(iter(Stage))),
        ("How many findings of a bad file are shown?", str(FIRST)),
        ("Which engine answers requests by default?", llamacpp.CAPABILITIES.name),
        ("Which engine is the fallback?", hf.CAPABILITIES.name),
        ("How many resamples does the bootstrap draw?", f"{RESAMPLES:,}"),
        ("At most how many questions does an evaluation ask?", str(MOST)),
    ],
)
def test_what_is_taught_is_what_the_code_says(question: str, truth: str) -> None:
    assert [row["completion"] for row in FACTS if row["prompt"] == question] == [truth]
