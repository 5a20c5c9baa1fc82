"""Prompting on real engines: the same prompts for ever, held-out rows in no shot, and a result that can be quoted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from pumice import pipeline
from pumice.cli import app
from pumice.config import Home
from pumice.data.checks import load
from pumice.data.render import Renderer
from pumice.data.sets import choose_sets
from pumice.engine.pool import Pool
from pumice.errors import InputError, NotFoundError
from pumice.evaluate.answers import Question, ask
from pumice.handbook import RECIPE
from pumice.jobs.queue import Queue
from pumice.prompting import run
from pumice.prompting.kept import KIND, beside, beside_model, keep
from pumice.prompting.report import Prompting, Tried, cuts, from_json, sentence, table, to_json
from pumice.prompting.run import Writer, askable, filled, prompting
from pumice.prompting.shots import Shots
from pumice.prompting.templates import find, read
from pumice.records import Base, Dataset, Event, Example, Interval, Report, Scores, Tell, Turn
from pumice.registry.start import Start
from pumice.store.documents import Documents
from pumice.store.tables import open_database

COLOURS = ("red", "green", "blue")


def quiet(event: Event) -> None:
    """Nobody listens."""


def write(path: Path, count: int, start: int = 0) -> Path:
    rows = ({"prompt": f"Colour of thing {n}?", "completion": COLOURS[n % 3]} for n in range(start, start + count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def many(tmp_path: Path) -> Dataset:
    """Enough rows for some to be held out."""
    return load(write(tmp_path / "many.jsonl", 200))


@pytest.fixture
def few(tmp_path: Path) -> Dataset:
    """Six rows of the same kind, none of them in `many`."""
    return load(write(tmp_path / "few.jsonl", 6, start=1000))


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    return Documents(open_database(Home(tmp_path_factory.mktemp("home")).database))


class Asked:
    """What went to the engines: every question as it was rendered, by call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[Question]] = []
        monkeypatch.setattr(run, "ask", self)

    def __call__(self, examples: Sequence[Example], renderer: Renderer, tell: Tell) -> list[Question]:
        self.calls.append(ask(examples, renderer, tell))
        return self.calls[-1]


async def test_held_out_rows_are_asked_with_trained_ones_before_them_and_the_same_again(
    tiny: Base, many: Dataset, home: Home, templates: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, template = Asked(monkeypatch), find("classify", templates)
    async with Pool(home.cache) as pool:
        first = await prompting(Start(tiny), many, None, template, [2], {}, pool, quiet)
        again = await prompting(Start(tiny), many, None, template, [2], {}, pool, quiet)

    assert first == again
    assert [question.prompt for question in asked.calls[1]] == [question.prompt for question in asked.calls[3]]
    assert (first.set, first.count, first.sampled, first.model) == ("held-out rows", 20, False, tiny.name)
    assert first.variables == {"labels": ["blue", "green", "red"]}
    assert [each.shots for each in first.tried] == [0, 2]
    assert first.tried[1].prompt_tokens > first.tried[0].prompt_tokens + 20
    assert first.tried[0].differences == {} and first.tried[1].differences.keys() == {
        "exact_match",
        "token_f1",
        "rouge_l",
    }

    held_out = [row.messages[0]["content"] for row in choose_sets(many, None).questions]
    renderer = Renderer(tiny.folder)
    for own, zero, shown in zip(held_out, asked.calls[0], asked.calls[1], strict=True):
        without, text = renderer.decode(zero.prompt), renderer.decode(shown.prompt)
        assert text.endswith(without[without.index("The classes are") :])
        assert without.count("Colour of thing") == 1 and text.count("Colour of thing") == 3
        assert [each for each in held_out if each in text] == [own]
        assert zero.reference == shown.reference and zero.reference in COLOURS


def test_system_turns_and_earlier_turns_stay(tiny: Base, tmp_path: Path) -> None:
    (tmp_path / "x.jinja").write_text("{% system %}Be {{ tone }}.{% endsystem %}Q: {{ question }} {{ shots }}")
    writer = Writer(read(tmp_path / "x.jinja", "x"), {"tone": "dry"}, Renderer(tiny.folder))
    before = (Turn(role="user", content="Hello"), Turn(role="assistant", content="Yes?"))
    row = Example(1, (*before, Turn(role="user", content="Why?"), Turn(role="assistant", content="So.")))
    own = Turn(role="system", content="Be kind.")
    dry = Turn(role="system", content="Be dry.")
    asked = (*before, Turn(role="user", content="Q: Why? []"), row.messages[-1])
    assert writer.write(row, ()).messages == (dry, *asked)
    both = Turn(role="system", content="Be kind.\n\nBe dry.")
    assert writer.write(replace(row, messages=(own, *row.messages)), ()).messages == (both, *asked)


def test_shots_that_do_not_fit_are_left_out_the_least_similar_first(tiny: Base, templates: Documents) -> None:
    rows = [
        Example(1, (Turn(role="user", content=f"word{n} " * 20), Turn(role="assistant", content="yes")))
        for n in range(30)
    ]
    writer = Writer(find("qa", templates), {}, Renderer(tiny.folder))
    near = Shots(rows[1:], {rows[0].messages[0]["content"]}, 0).near("word0 word7", 29)
    assert near[-1].question.startswith("word7 ")
    written = writer.fitted(rows[0], near)
    assert 0 < written.shots < 29
    assert len(writer.renderer.train(written.row).ids) <= tiny.window
    assert not writer.fits(writer.write(rows[0], near[29 - written.shots - 1 :]))
    assert "word7 " in written.row.messages[0]["content"]
    assert writer.fitted(rows[0], near[-1:]).shots == 1


def test_rows_that_cannot_be_asked_are_left_out_aloud(tiny: Base, many: Dataset, templates: Documents) -> None:
    told: list[Event] = []
    writer = Writer(find("qa", templates), {}, Renderer(tiny.folder))
    long = Example(1, (Turn(role="user", content="word " * 600), Turn(role="assistant", content="no")))
    rows = tuple(many.examples)[:3]
    assert askable([*rows, long], writer, told.append) == list(rows)
    assert "1 row does not end with a question and its answer in at most 512 tokens" in told[0].data["text"]
    with pytest.raises(InputError, match="None of the 1 questions"):
        askable([long], writer, quiet)


async def test_what_cannot_be_measured_is_refused(
    tiny: Base, many: Dataset, few: Dataset, home: Home, templates: Documents, tmp_path: Path
) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "A river begins."}\n' * 300)
    text, qa = load(tmp_path / "text.jsonl"), find("qa", templates)
    pool = Pool(home.cache)
    for data, validation, rule in (
        (few, None, "6 rows, and none of them is held out"),
        (text, None, "holds text data"),
        (many, text, "holds text data"),
        (few, few, "can be a shot"),
    ):
        with pytest.raises(InputError) as error:
            await prompting(Start(tiny), data, validation, qa, [1], {}, pool, quiet)
        assert rule in str(error.value) and error.value.fix
    with pytest.raises(InputError, match="target_language"):
        await prompting(Start(tiny), many, None, find("translate", templates), [1], {}, pool, quiet)
    with pytest.raises(InputError, match="--var tone"):
        await prompting(Start(tiny), many, None, qa, [1], {"tone": "dry"}, pool, quiet)


def test_labels_are_given_or_found_or_too_many(many: Dataset, templates: Documents) -> None:
    classify = find("classify", templates)
    assert filled(classify, {"labels": "red, green,,blue"}, ())["labels"] == ["red", "green", "blue"]
    rows = [
        replace(row, messages=(row.messages[0], Turn(role="assistant", content=f"answer {n}")))
        for n, row in enumerate(many.examples)
    ]
    assert len(filled(classify, {}, rows[:50])["labels"]) == 50
    with pytest.raises(InputError, match="51 different answers"):
        filled(classify, {}, rows[:51])


async def test_shots_help_the_default_model(base: Base, session_home: Home, templates: Documents) -> None:
    facts = load(RECIPE.parent / "facts.jsonl")
    asked = load(RECIPE.parent / "phrasings.jsonl")
    asked = replace(asked, examples=tuple(asked.examples)[:48:8])
    async with Pool(session_home.cache) as pool:
        found = await prompting(Start(base), facts, asked, find("qa", templates), [1], {}, pool, quiet)
    assert (found.count, found.best.shots) == (6, 1)
    assert found.tried[1].token_f1 > found.tried[0].token_f1


def result(data: str = "d", **changes: object) -> Prompting:
    gain = Interval(0.4, 0.2, 0.6)
    differences = {"exact_match": gain, "token_f1": gain, "rouge_l": gain}
    tried = (
        Tried(0, 0.1, 0.2, 0.2, 20, 50.0, 0, {}),
        Tried(1, 0.5, 0.6, 0.6, 20, 80.4, 0, differences),
        Tried(5, 0.71, 0.6, 0.6, 19, 300.0, 3, differences),
    )
    values = {"variables": {"labels": ["a"]}, "validation_sha256": None, "adapter_sha256": None, "sampled": False}
    named = {"model": "tiny", "template": "qa", "template_sha256": "t", "data_sha256": data, "base_sha256": "b"}
    values = {**values, **named, "set": "held-out rows", "count": 20, "tried": tried}
    return Prompting(**{**values, **changes})  # type: ignore[arg-type]


def test_what_is_said_of_a_result() -> None:
    found = result()
    assert from_json(json.loads(json.dumps(to_json(found)))) == found
    change = "0.60\n+0.40 [+0.20, +0.60]"
    assert table(found)[1] == ("1", "50 %\n+40 [+20, +60]", change, change, "80")
    assert sentence(found) == (
        "Best on 20 questions held out: one-shot, with exact match 50 % and token F1 0.60, for 80 prompt tokens a "
        "question against 50; token F1 changed by +0.40 [+0.20, +0.60] against zero-shot."
    )
    assert cuts(found) == ["3 of 20 questions had no room for 5 shots and were asked with fewer."]
    assert "may be chance" in sentence(replace(found, count=5))
    assert sentence(replace(found, tried=found.tried[:1])) == (
        "Best on 20 questions held out: zero-shot, with exact match 10 % and token F1 0.20, "
        "for 50 prompt tokens a question."
    )


def report(**changes: object) -> Report:
    scores = Scores(1.0, 2.7, 0.88, 0.9, 0.9, 20, 3.0)
    given = Report("held-out rows", 20, scores, scores, {"token_f1": Interval(0, 0, 0)}, "better", 0.0)
    return replace(given, **changes)  # type: ignore[arg-type]


def test_a_result_is_told_beside_a_comparison_on_the_same_questions_only(database: Engine) -> None:
    documents = Documents(database)
    keep(result(), documents)
    keep(result(template="worse", tried=result().tried[:1]), documents)
    keep(result(template="tuned", adapter_sha256="a", tried=(replace(result().tried[0], token_f1=1.0),)), documents)
    line = (
        "Prompting alone: one-shot with qa already got 50 % exact match, token F1 0.60 on the same questions; "
        "tuning 88 %, 0.90."
    )
    assert beside(report(), "d", None, "b", 0, documents) == line
    assert beside(report(), "d", None, "b", 7, documents) == line
    for told in (
        beside(report(), "other", None, "b", 0, documents),
        beside(report(), "d", "v", "b", 0, documents),
        beside(report(), "d", None, "other", 0, documents),
        beside(report(count=19), "d", None, "b", 0, documents),
        beside(report(set="validation file"), "d", None, "b", 0, documents),
        beside(report(tuned=replace(report().tuned, exact_match=None)), "d", None, "b", 0, documents),
    ):
        assert told == ""
    keep(result("sampled", sampled=True), documents)
    assert beside(report(), "sampled", None, "b", 0, documents)
    assert not beside(report(), "sampled", None, "b", 7, documents)


def test_the_same_order_again_takes_the_place_of_its_result(database: Engine) -> None:
    documents = Documents(database)
    keep(result(), documents)
    keep(result(count=19), documents)
    assert [each.body["count"] for each in documents.list(KIND)] == [19]
    keep(result(variables={}), documents)
    assert len(documents.list(KIND)) == 2


def test_a_run_tells_what_prompting_reached(
    tiny: Base, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(home.root))
    data, asked = write(tmp_path / "data.jsonl", 12), write(tmp_path / "asked.jsonl", 6, start=1000)
    words = ["prompt", data, "--validation", asked, "--task", "classify", "--shots", "1", "--model", tiny.folder]
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    found = from_json(json.loads(done.stdout))
    assert (found.set, found.count, [each.shots for each in found.tried]) == ("validation file", 6, [0, 1])

    queue, told = Queue(open_database(home.database), home), list[Event]()
    recipe = {"data": str(data), "validation": str(asked), "model": str(tiny.folder), "epochs": 1}
    model = pipeline.run(queue.submit("run", recipe), home, told.append, lambda: False)
    kinds = [event.kind for event in told]
    note = told[kinds.index("report") + 1]
    assert note.kind == "note" and model.report is not None and model.report.tuned.exact_match is not None
    assert note.data["text"].startswith("Prompting alone: ") and "on the same questions; tuning" in note.data["text"]

    # A folder of documents is a set of its own.
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.md").write_text("Of something else.")
    documents = Documents(queue.database)
    assert beside_model(model, None, model.report, home, documents) == note.data["text"]
    assert beside_model(model, str(tmp_path / "pages"), model.report, home, documents) == ""


def test_words_that_the_command_cannot_read(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: Dataset
) -> None:
    monkeypatch.setenv("PUMICE_HOME", str(home.root))
    for words in (
        ["--task", "poetry"],
        ["--task", "qa", "--template", "qa"],
        ["--shots", "1,-2"],
        ["--shots", "two"],
        ["--var", "tone"],
    ):
        assert CliRunner().invoke(app, ["prompt", many.path, *words]).exit_code == 2
    with pytest.raises(NotFoundError, match="There is no prompt template 'poetry'"):
        CliRunner().invoke(app, ["prompt", many.path, "--template", "poetry"], catch_exceptions=False)
