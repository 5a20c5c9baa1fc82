"""What an answer is worth, by every word that a recipe may say; and a user's own function is told from ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pumice.config import Home
from pumice.errors import InputError
from pumice.plan import gather
from pumice.records import Base, Example
from pumice.train.methods import Rlhf
from pumice.train.recipe import Recipe, change, make_recipe, read_recipe, resolve_recipe
from pumice.train.scorers import read, scorer

FACTS = {"reference": "Anna Voss", "prompt": "Who?"}


@pytest.mark.parametrize(
    ("word", "answer", "worth"),
    [
        ("exact", "the anna voss.", 1),
        ("exact", "Anna Vos", 0),
        ("exact", "", 0),
        ("json", ' {"a": [1, null]}\n', 1),
        ("json", "{'a': 1}", 0),
        ("json", '{"a": NaN}', 0),
        ("json", '```json\n{"a": 1}\n```', 0),
        ("json", "", 0),
        ("regex:^No", "No, never.", 1),
        ("regex:^No", "Never. No.", 0),
        (r"regex:\d{2}:\d{2}", "At 09:30 in the morning", 1),
        ("length:2", "one two", 1),
        ("length:2", "one two, three four", 0.5),
        ("length:3", "短い答え", 0.75),
        ("length:2", "  ", 0),
    ],
)
def test_an_answer_is_worth(word: str, answer: str, worth: float) -> None:
    assert scorer(word)("Who?", answer, FACTS) == worth


def test_no_pattern_keeps_training_busy() -> None:
    """Python's own engine would take 2 to the 40th steps."""
    assert scorer("regex:^(a+)+$")("", "a" * 40 + "b", {}) == 0


@pytest.mark.parametrize(
    "word",
    ["", "regex", "regex:", "regex:(", r"regex:(a)\1", "length", "length:0", "length:few", "exact:1", "json:x", "a.py",
     "a.py:", "a.py:1st", "a:b"],
)  # fmt: skip
def test_what_is_no_scorer_is_refused_when_the_recipe_is_read(word: str) -> None:
    with pytest.raises(InputError, match="has 1 mistake") as caught:
        make_recipe({"data": "p.jsonl", "method": "rlhf", "rlhf": {"reward": word}})
    assert caught.value.why.startswith("rlhf.reward = ") and "file.py:function" in caught.value.why


@pytest.mark.parametrize("word", ["politeness", "politeness@2", "exactly", "org/judge"])
def test_any_other_word_is_a_model(word: str) -> None:
    assert read(word).kind == "model"
    assert (Rlhf(reward=word).guide, Rlhf(reward=word).runs_code) == (word, False)
    assert [Rlhf(reward=each).guide for each in ("exact", "json", "regex:x", "length:3", "a.py:f")] == [None] * 5


GOOD = "def score(prompt, answer, facts):\n    return len(answer) + facts['extra'] + (prompt == 'Who?')\n"


def own(folder: Path, text: str, name: str = "score") -> str:
    (folder / "mine.py").write_text(text)
    return f"{folder / 'mine.py'}:{name}"


def test_a_file_is_run_as_import_runs_it(tmp_path: Path) -> None:
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    rule = "@dataclass\nclass Rule:\n    worth: float\n"
    judge = "def score(prompt, answer, facts):\n    return Rule(2.5).worth\n"
    assert scorer(own(tmp_path, head + rule + judge))("Who?", "You", {}) == 2.5
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        scorer(f"{tmp_path / 'broken.py'}:score")
    assert "scorer_broken" not in sys.modules


def test_a_function_of_the_users_gets_prompt_answer_and_facts(tmp_path: Path) -> None:
    assert scorer(own(tmp_path, GOOD))("Who?", "You", {"extra": 0.5}) == 4.5


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("x = 1\ndef score(\n", "mine.py:2: SyntaxError: ", "The file could not be run."),
        ("import no_such_library\n", "mine.py:1: ModuleNotFoundError: No module", "The file could not be run."),
        ("def other(prompt, answer, facts):\n    return 1\n", "has no function score", "It has other."),
        ("score = 1\n", "has no function score", "It has no function at all."),
        ("def score(answer):\n    return 1\n", "cannot be called with a prompt, an answer and the facts", ""),
    ],
)
def test_a_file_that_cannot_be_used_is_told_before_anything_is_loaded(
    tmp_path: Path, text: str, place: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        scorer(own(tmp_path, text))
    assert place in caught.value.what and said in caught.value.why


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return 1 / 0\n", "mine.py:2: ZeroDivisionError: division by zero"),
        ("    return help(answer)\n\ndef help(text):\n    return text['x']\n", "mine.py:5: TypeError: "),
        ("    return None\n", "mine.py:score returned None."),
        ("    return float('nan')\n", "mine.py:score returned nan."),
        ("    return float('inf')\n", "mine.py:score returned inf."),
        ("    return '1'\n", "mine.py:score returned '1'."),
    ],
)
def test_a_function_that_fails_is_told_with_its_line_and_the_answer(tmp_path: Path, body: str, said: str) -> None:
    score = scorer(own(tmp_path, "def score(prompt, answer, facts):\n" + body))
    with pytest.raises(InputError) as caught:
        score("Who?", "It is I.", {})
    assert said in caught.value.what and "'It is I.'" in caught.value.why
    assert "Traceback" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*none\.py"):
        scorer(f"{tmp_path}/none.py:score")
    with pytest.raises(InputError, match="lies in S3"):
        scorer("s3://bucket/mine.py:score")


def test_the_file_is_found_beside_the_recipe_and_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("method: rlhf\ndata: p.jsonl\nrlhf:\n  reward: judges/mine.py:score\n")
    recipe = read_recipe(path)
    assert reward(recipe) == f"{tmp_path}/judges/mine.py:score"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert reward(change(recipe, {"epochs": "1"})) == f"{tmp_path}/judges/mine.py:score"
    assert reward(change(recipe, {"rlhf.reward": "mine.py:other"})) == f"{elsewhere}/mine.py:other"
    made = Recipe.from_data("p.jsonl", method="rlhf", rlhf={"reward": "mine.py:score"})
    assert reward(made) == f"{elsewhere}/mine.py:score"
    assert reward(change(recipe, {"rlhf.reward": "length:3"})) == "length:3"


def test_a_recipe_in_s3_may_not_name_a_program(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("method: rlhf\ndata: p.jsonl\nrlhf:\n  reward: /tmp/mine.py:score\n")
    with pytest.raises(InputError, match="names a program of its own"):
        read_recipe(path, "s3://bucket/recipe.yaml")
    path.write_text("method: rlhf\ndata: p.jsonl\nrlhf:\n  reward: json\n")
    assert read_recipe(path, "s3://bucket/recipe.yaml").data == "s3://bucket/p.jsonl"


def reward(recipe: Recipe) -> str:
    knobs = recipe.knobs
    assert isinstance(knobs, Rlhf)
    return knobs.reward


USER, SAID = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Anna"}


@pytest.mark.parametrize(
    ("example", "facts"),
    [
        (Example(1, (USER,), facts={"reference": "Eva"}), {"reference": "Eva", "prompt": "Who?"}),
        (Example(1, (USER, SAID)), {"reference": "Anna", "prompt": "Who?"}),
        (Example(1, (USER, SAID, {"role": "user", "content": "Sure?"}), facts={"reference": 3}),
         {"reference": 3, "prompt": "Sure?"}),
    ],
)  # fmt: skip
def test_a_row_is_a_prompt_with_facts(example: Example, facts: dict[str, Any]) -> None:
    (row,) = Rlhf(reward="exact").reads(example)
    assert row.facts == facts and row.messages[-1]["role"] == "user"


@pytest.mark.parametrize("lacking", ["data", "validation"])
def test_a_row_without_a_reference_is_told_before_anything_is_loaded(tmp_path: Path, tiny: Base, lacking: str) -> None:
    for name in ("data", "validation"):
        rows = '{"prompt": "Who?", "reference": "Anna"}\n{"prompt": "Where?"'
        (tmp_path / f"{name}.jsonl").write_text(rows + ("}\n" if name == lacking else ', "reference": "Here"}\n'))
    recipe = make_recipe({"method": "rlhf", **{name: f"{tmp_path}/{name}.jsonl" for name in ("data", "validation")}})
    with pytest.raises(InputError, match="The row in line 2 has no `reference`"):
        gather(recipe, tiny, Home(tmp_path))
    # Another scorer needs none.
    gather(change(recipe, {"rlhf.reward": "json"}), tiny, Home(tmp_path))


@pytest.mark.parametrize(
    ("rows", "steps", "prompts"), [(2, 60, 2), (10, 60, 4), (48, 60, 4), (400, 60, 4), (20_000, 60, 4)]
)
def test_steps_are_few_by_default_as_each_takes_long(tiny: Base, rows: int, steps: int, prompts: int) -> None:
    recipe = make_recipe({"data": "/d/p.jsonl", "method": "rlhf", "rlhf": {"reward": "json"}})
    resolved, reasons = resolve_recipe(recipe, tiny, rows, rows * 40)
    assert resolved.batch_size and resolved.gradient_accumulation and resolved.epochs
    assert resolved.batch_size * resolved.gradient_accumulation == prompts
    assert 0.6 * steps <= rows / prompts * resolved.epochs <= steps
    assert "steps of" in reasons["epochs"] and "with their answers" in reasons["batch_size"]


def test_memory_decides_how_many_prompts_are_answered_at_once(tiny: Base) -> None:
    knobs = {"reward": "json", "max_tokens": 400}
    recipe = make_recipe({"data": "/d/p.jsonl", "method": "rlhf", "rlhf": knobs})
    resolved, _ = resolve_recipe(recipe, tiny, 40, 40 * 100)
    # 4 x (100 + 400) tokens a prompt, 4,096 at once.
    assert (resolved.batch_size, resolved.gradient_accumulation) == (2, 2)


def test_a_step_of_more_prompts_than_there_are_is_refused(tiny: Base) -> None:
    """It would make no step at all."""
    recipe = make_recipe({"data": "/d/p.jsonl", "method": "rlhf", "batch_size": 8, "rlhf": {"reward": "json"}})
    with pytest.raises(InputError, match="are 8 prompts a step, and there are 7"):
        resolve_recipe(recipe, tiny, 7, 280)
    resolve_recipe(recipe, tiny, 8, 320)
