"""Labelled texts and prompts are read as they are, and classes that cannot be learned are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pumice.data import checks, formats
from pumice.data.labels import Count, check_seen
from pumice.data.rows import Log
from pumice.data.sets import choose_sets
from pumice.errors import DataError
from pumice.records import Example, Kind


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path: Path, *rows: Any) -> tuple[list[Example], Log]:
    log = Log("d.jsonl")
    return list(formats.examples(write(tmp_path / "d.jsonl", *rows), log)), log


def row(text: str, label: Any) -> dict[str, Any]:
    return {"text": text, "label": label}


def test_a_label_is_text_whatever_it_was(tmp_path: Path) -> None:
    labels = ["spam", 1, 1.0, 0.5, True, False, -3]
    examples, log = read(tmp_path, *(row("t", label) for label in labels))
    assert (log.findings, log.kind) == ([], Kind.LABELLED)
    assert [each.label for each in examples] == ["spam", "1", "1", "0.5", "true", "false", "-3"]
    count = Count()
    for example in examples:
        count.add(example)
    assert count.classes() == ("-3", "0.5", "1", "false", "spam", "true")


FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "empty label": (row("t", " "), '" "', "label", "label is empty"),
    "null label": (row("t", None), "null", "label", "null"),
    "list": (row("t", ["a"]), "[", "label", "is a list"),
    "object": (row("t", {"a": 1}), '{"a"', "label", "is an object"),
    "NUL": (row("t", "a\0"), '"a', "label", "NUL"),
    "empty text": (row("", "a"), '""', "text", "text is empty"),
    "misspelt": ({"text": "t", "lable": "a"}, '"lable"', "lable", "not known"),
    "a prompt with its answer": (
        {"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        '"assistant"',
        "prompt[1].role",
        "ends where the assistant is to answer",
    ),
    "an empty prompt": ({"prompt": ""}, '""', "prompt", "prompt is empty"),
    "a prompt with a misspelt answer": (
        {"prompt": "q", "completoin": "a"},
        '"completoin"',
        "completoin",
        'looks like one of instruction data, but the row has no "completion"',
    ),
    "a prompt with half a pair": ({"prompt": "q", "chosen": "a"}, '"chosen"', "chosen", 'no "rejected"'),
}


@pytest.mark.parametrize("bad, at, field, words", FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_place_field_and_sentence(
    tmp_path: Path, bad: dict[str, Any], at: str, field: str, words: str
) -> None:
    good = {"prompt": "q"} if "prompt" in bad else row("t", "a")
    examples, log = read(tmp_path, good, good, bad)
    assert [each.line for each in examples] == [1, 2]
    assert [(each.line, each.field) for each in log.findings] == [(3, field)]
    finding = log.findings[0]
    assert json.dumps(bad)[finding.column - 1 :].startswith(at)
    assert words in finding.rule
    assert finding.fix


def test_what_is_no_number_is_no_class(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["a", "b"], "label": [1.0, float("nan")]})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(DataError, match="which is no number"):
        checks.load(tmp_path / "d.parquet")


def test_one_class_is_refused_where_it_first_stands(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", row("a", 1), row("b", "1"), row("c", 1.0))
    found = checks.check(path, None)
    assert [(each.line, each.field) for each in found.findings] == [(1, "label")]
    with pytest.raises(DataError, match='Every row has the class "1"'):
        checks.load(path)


def test_a_broken_row_does_not_make_the_others_one_class(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", row("a", "x"), row("b", None))
    assert [each.line for each in checks.check(path, None).findings] == [2]


def test_classes_are_counted_and_odd_ones_told(tmp_path: Path) -> None:
    rows = [row(f"t{n}", "spam") for n in range(3)] + [row("u", "Spam"), row("v", "ham"), row("w", "ham")]
    found = checks.check(write(tmp_path / "d.jsonl", *rows), None)
    assert found.ok
    assert found.notes == (
        "3 classes: spam 3, ham 2, Spam 1.",
        'The classes "Spam" and "spam" differ in case or white space only; they stay 2.',
        "1 class has 1 row only (Spam): too few both to learn from and to ask about.",
    )


def test_a_class_that_was_never_learned_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", row("a", "spam"), row("b", "ham"))
    other = write(tmp_path / "v.jsonl", row("c", "ham"), row("d", "span"), row("e", "HAM"), row("f", "eggs"))
    with pytest.raises(DataError) as refused:
        check_seen(checks.load(other), checks.load(path).classes)
    assert [(each.line, each.field) for each in refused.value.findings] == [(2, "label"), (3, "label"), (4, "label")]
    fixes = [each.fix for each in refused.value.findings]
    assert fixes[:2] == ['Did you mean "spam"?', 'Did you mean "ham"?']
    assert "ham, spam" in fixes[2]
    found = checks.check(path, None, validation=other)
    assert tuple(found.findings) == refused.value.findings
    check_seen(checks.load(path), ("ham", "spam"))


def test_repeats_of_a_text_are_told_by_their_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", row("a", "x"), row("a", "x"), row("a", "y"))
    other = write(tmp_path / "v.jsonl", row("b", "x"), row("a", "y"))
    found = checks.check(path, None, validation=other)
    assert (found.duplicates.pairs, found.conflicts.pairs) == (((2, 1),), ((3, 1),))
    assert found.leaks is not None
    assert found.leaks.pairs == ((1, 2), (2, 2), (3, 2))
    assert "the text of an earlier row, with another label" in found.warnings[1]


def test_prompts_keep_what_the_row_says_beside_them(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]
    examples, log = read(
        tmp_path, {"prompt": "q", "answer": 42, "id": "x"}, {"prompt": chat, "system": "s"}, {"prompt": "r"}
    )
    assert (log.findings, log.notes, log.kind) == ([], [], Kind.PROMPTS)
    assert [[turn["role"] for turn in each.messages] for each in examples] == [
        ["user"],
        ["system", "user", "assistant", "user"],
        ["user"],
    ]
    assert [each.facts for each in examples] == [{"answer": 42, "id": "x"}, {}, {}]


def test_a_misspelt_optional_column_is_no_fact(tmp_path: Path) -> None:
    _, log = read(tmp_path, {"prompt": "q", "sytem": "s"})
    assert log.findings[0].fix == 'Did you mean "system"? Rename it.'


def test_prompts_repeat_leak_and_are_held_out_by_what_they_ask(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n // 2}", "n": n % 2} for n in range(400)]
    path = write(tmp_path / "d.jsonl", *rows, rows[0], {"prompt": "ann@example.com", "mail": "bob@example.com"})
    found = checks.check(path, None, validation=write(tmp_path / "v.jsonl", {"prompt": "q7", "n": 5}))
    assert found.leaks is not None
    assert (found.duplicates.pairs, found.conflicts.count, found.leaks.pairs) == (((401, 1),), 0, ((15, 1), (16, 1)))
    assert [(each.count, each.lines) for each in found.sensitive] == [(2, (402,))]
    sets = choose_sets(checks.load(path), None)
    assert len(sets.questions) == 20
    asked, trained = ({each.messages[0]["content"] for each in rows} for rows in (sets.questions, sets.trained))
    assert asked and trained and not asked & trained
