"""Pairs and judged answers are read in the forms that users bring, and a pair that teaches nothing is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pumice.data import checks, formats
from pumice.data.rows import Log
from pumice.data.sets import choose_sets
from pumice.errors import DataError
from pumice.records import Example, Kind, Turn


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path: Path, *rows: Any) -> tuple[list[Example], Log]:
    log = Log("d.jsonl")
    return list(formats.examples(write(tmp_path / "d.jsonl", *rows), log)), log


def turns(messages: tuple[Turn, ...]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in messages]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def pair(prompt: str = "q", chosen: str = "a", rejected: str = "b") -> dict[str, str]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


Q, A, B = ("user", "q"), ("assistant", "a"), ("assistant", "b")
GPT = {"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}
PAIRS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "text": (pair(), [Q]),
    "a system text": ({"system": "s", **pair()}, [("system", "s"), Q]),
    "question": ({"question": "q", "chosen": "a", "rejected": "b"}, [Q]),
    "instruction and input": (
        {"instruction": "q", "input": "x", "chosen": "a", "rejected": "b"},
        [("user", "q\n\nx")],
    ),
    "conversational": ({"prompt": [user("q")], "chosen": [said("a")], "rejected": [said("b")]}, [Q]),
    "implicit prompt": ({"chosen": [user("q"), said("a")], "rejected": [user("q"), said("b")]}, [Q]),
    "prompt and whole conversations": (
        {"prompt": "q", "chosen": [user("q"), said("a")], "rejected": [user("q"), said("b")], "score": 1},
        [Q],
    ),
    "messages and text": ({"messages": [user("q")], "chosen": "a", "rejected": "b"}, [Q]),
    "messages and messages": ({"messages": [user("q")], "chosen": said("a"), "rejected": said("b")}, [Q]),
    "sharegpt": (
        {
            "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}],
            "chosen": GPT[0],
            "rejected": GPT[1],
        },
        [("system", "s"), Q],
    ),
    "several turns": (
        {"messages": [user("p"), said("r"), user("q")], "chosen": [said("a")], "rejected": [said("b")]},
        [("user", "p"), ("assistant", "r"), Q],
    ),
}


@pytest.mark.parametrize("row, opening", PAIRS.values(), ids=PAIRS)
def test_every_form_of_a_pair_is_one_opening_and_two_answers(
    tmp_path: Path, row: dict[str, Any], opening: list[tuple[str, str]]
) -> None:
    examples, log = read(tmp_path, row, row)
    assert (log.findings, log.kind) == ([], Kind.PREFERENCE)
    assert [turns(each.messages) for each in examples] == [[*opening, A]] * 2
    assert [turns(each.rejected) for each in examples] == [[*opening, B]] * 2
    assert log.notes == (["Columns that are not used: score (2 rows)."] if "score" in row else [])


CHAT = [user("q"), said("a")]
JUDGED: dict[str, tuple[dict[str, Any], bool]] = {
    "completion": ({"prompt": "q", "completion": "a", "label": True}, True),
    "response": ({"prompt": "q", "response": "a", "label": False}, False),
    "conversational": ({"prompt": [user("q")], "completion": [said("a")], "label": True}, True),
    "messages": ({"messages": CHAT, "label": False}, False),
    "sharegpt": ({"conversations": [{"from": "human", "value": "q"}, GPT[0]], "label": True}, True),
    "a word, as tables have it": ({"prompt": "q", "completion": "a", "label": "False"}, False),
}


@pytest.mark.parametrize("row, wanted", JUDGED.values(), ids=JUDGED)
def test_every_form_of_a_judged_answer_is_a_conversation_and_a_judgement(
    tmp_path: Path, row: dict[str, Any], wanted: bool
) -> None:
    examples, log = read(tmp_path, row)
    assert (log.findings, log.kind) == ([], Kind.UNPAIRED)
    assert [(turns(each.messages), each.wanted) for each in examples] == [([Q, A], wanted)]


def test_tables_have_pairs_too(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("prompt,chosen,rejected\nq,a,b\n")
    table = pyarrow.Table.from_pylist([{"chosen": [user("q"), said("a")], "rejected": [user("q"), said("b")]}])
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    for name in ("d.csv", "d.parquet"):
        (example,) = checks.load(tmp_path / name).examples
        assert (turns(example.messages), turns(example.rejected)) == ([Q, A], [Q, B])


FAULTS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "identical": (pair(rejected="a"), '"a"}', "rejected", "is the chosen one."),
    "alike but for space": (pair(rejected=" a\n"), '" a', "rejected", "but for white space"),
    "empty chosen": (pair(chosen=" "), '" "', "chosen", "chosen answer is empty"),
    "empty rejected": (pair(rejected=""), '""', "rejected", "rejected answer is empty"),
    "empty message": ({**pair(), "chosen": said("")}, '""}', "chosen.content", "empty"),
    "null": ({**pair(), "rejected": None}, "null", "rejected", "is null"),
    "NUL": (pair(chosen="a\0"), '"a', "chosen", "NUL"),
    "a number as the prompt": ({**pair(), "prompt": 5}, "5", "prompt", "text or a list of messages"),
    "the user's ending": ({**pair(), "chosen": user("a")}, '"user"', "chosen.role", "must be the assistant's"),
    "a role in a list": (
        {**pair(), "chosen": {"role": ["assistant"], "content": "a"}},
        '["assistant"',
        "chosen.role",
        "is a list",
    ),
    "user last": (
        {**pair(), "chosen": [said("a"), user("b")]},
        '"user"',
        "chosen[1].role",
        "must be the assistant's",
    ),
    "endings as lists of text": ({**pair(), "chosen": ["a"]}, '"a"', "chosen[0]", "must be an object"),
    "no list at all": ({**pair(), "chosen": []}, "[]", "chosen", "no messages"),
    "misspelt": ({"prompt": "q", "choosen": "a", "rejected": "b"}, '"choosen"', "choosen", "not known"),
    "one ending": ({"prompt": "q", "chosen": "a"}, "{", "", '"rejected" is missing'),
    "another opening": (
        {"chosen": [user("q"), said("a")], "rejected": [user("p"), said("b")]},
        '"user", "content": "p"',
        "rejected[0].role",
        "differ at turn 1",
    ),
    "a longer conversation": (
        {**pair(), "rejected": [said("b"), user("r"), said("c")]},
        '"assistant", "content": "b"',
        "rejected[0].role",
        "differ at turn 2",
    ),
    "another prompt inside": (
        {**pair(), "chosen": [user("p"), said("a")]},
        "[{",
        "chosen",
        "does not begin with what the row asks",
    ),
    "answered already": (
        {"messages": CHAT, "chosen": "a", "rejected": "b"},
        '"assistant"',
        "messages[1].role",
        "ends with an answer already",
    ),
    "wrong order": (
        {"messages": [user("q"), user("q")], "chosen": "a", "rejected": "b"},
        '"user", "content": "q"}]',
        "messages[1].role",
        "Two user turns",
    ),
    "two system texts": (
        {"system": "s", "chosen": [{"role": "system", "content": "t"}, *CHAT], "rejected": CHAT},
        '"s"',
        "system",
        "two system texts",
    ),
    "a judgement in words": (
        {"prompt": "q", "completion": "a", "label": "good"},
        '"good"',
        "label",
        '"good" is neither true nor false',
    ),
    "a judgement in numbers": ({"prompt": "q", "completion": "a", "label": 1}, "1}", "label", "true or false"),
    "no judgement": ({"messages": CHAT, "label": None}, "null", "label", "null"),
    "an unanswered chat": (
        {"messages": CHAT[:1], "label": True},
        '"user"',
        "messages[0].role",
        "must be the assistant's",
    ),
}


@pytest.mark.parametrize("row, at, field, words", FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_place_field_and_sentence(
    tmp_path: Path, row: dict[str, Any], at: str, field: str, words: str
) -> None:
    examples, log = read(tmp_path, row)
    assert not examples
    assert [each.field for each in log.findings] == [field]
    finding = log.findings[0]
    assert json.dumps(row)[finding.column - 1 :].startswith(at)
    assert words in finding.rule
    assert finding.fix


def test_texts_without_a_prompt_are_no_conversation(tmp_path: Path) -> None:
    _, log = read(tmp_path, {"chosen": "a", "rejected": "b"})
    assert [each.field for each in log.findings] == ["chosen", "rejected"]
    assert 'no "prompt"' in log.findings[0].rule


def test_a_call_and_its_absence_are_two_answers(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    row = {"messages": [user("q")], "chosen": {**said(""), "tool_calls": [call]}, "rejected": {**said("")}}
    assert len(read(tmp_path, {**row, "rejected": said("no")})[0]) == 1
    _, log = read(tmp_path, {**row, "rejected": row["chosen"]})
    assert "is the chosen one" in log.findings[0].rule


def judged(prompt: str, answer: str, wanted: bool) -> dict[str, Any]:
    return {"prompt": prompt, "completion": answer, "label": wanted}


@pytest.mark.parametrize("wanted", [True, False])
def test_answers_of_one_sort_only_are_refused_where_the_first_stands(tmp_path: Path, wanted: bool) -> None:
    path = write(tmp_path / "d.jsonl", judged("p", "a", wanted), judged("q", "b", wanted))
    assert [(each.line, each.field) for each in checks.check(path, None).findings] == [(1, "label")]
    with pytest.raises(DataError, match=r"Add rows with the label " + ("false" if wanted else "true")):
        checks.load(path)
    both = write(tmp_path / "d.jsonl", judged("p", "a", wanted), judged("q", "b", not wanted))
    assert checks.check(both, None).notes == ("Answers: 1 wanted, 1 not wanted.",)
    assert len(checks.load(both).examples) == 2


def test_several_pairs_of_one_prompt_are_no_conflict_but_a_turned_one_is(tmp_path: Path) -> None:
    rows = (pair(), pair(chosen="a", rejected="c"), pair(), pair(chosen="b", rejected="a"))
    found = checks.check(write(tmp_path / "d.jsonl", *rows), None)
    assert found.duplicates.pairs == ((3, 1),)
    assert found.conflicts.pairs == ((4, 1),)
    assert "prefers the answer that an earlier row rejects" in found.warnings[1]


def test_one_answer_judged_in_two_ways_is_a_conflict(tmp_path: Path) -> None:
    rows = judged("q", "a", True), judged("q", "b", False), judged("q", "a", False), judged("q", "a", True)
    found = checks.check(write(tmp_path / "d.jsonl", *rows), None)
    assert (found.conflicts.pairs, found.duplicates.pairs) == (((3, 1),), ((4, 1),))
    assert "judges an answer otherwise" in found.warnings[1]


def test_a_prompt_in_both_files_is_a_leak_and_is_never_in_both_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", *(pair(f"q{n // 2}", f"a{n}") for n in range(400)))
    other = write(tmp_path / "v.jsonl", pair("q7", "another"))
    leaks = checks.check(path, None, validation=other).leaks
    assert leaks is not None
    assert leaks.pairs == ((15, 1), (16, 1))
    sets = choose_sets(checks.load(path), None)
    assert len(sets.questions) == 20
    asked, trained = ({each.messages[0]["content"] for each in rows} for rows in (sets.questions, sets.trained))
    assert asked and trained and not asked & trained


def test_the_rejected_answer_is_searched_and_what_both_share_is_searched_once(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", pair("I am ann.b@example.com", "hi", "bob.c@example.com"))
    assert [(each.what, each.count) for each in checks.check(path, None).sensitive] == [("email address", 2)]


def test_openais_form_of_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    asked = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]}
    good, bad = ([{"role": "assistant", "content": word}] for word in ("yes", "no"))
    row = {"input": asked, "preferred_output": good, "non_preferred_output": bad}
    path.write_text(json.dumps(row) + "\n")
    (example,) = checks.load(path).examples
    assert [turn["content"] for turn in example.messages] == ["s", "q", "yes"]
    assert [turn["content"] for turn in example.rejected] == ["s", "q", "no"]
    path.write_text(json.dumps({**row, "non_preferred_output": good, "input": "q"}) + "\n")
    with pytest.raises(DataError, match=r"pairs.jsonl:1:11: input: The value is text; it must be an object"):
        checks.load(path)
    path.write_text(json.dumps({**row, "non_preferred_output": good}) + "\n")
    with pytest.raises(DataError, match="The non_preferred_output answer is the preferred_output one"):
        checks.load(path)


def test_openais_functions_stand_in_its_input(tmp_path: Path) -> None:
    function = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    asked = {"messages": [user("q")], "tools": [function], "parallel_tool_calls": True}
    row = {"input": asked, "preferred_output": [said("a")], "non_preferred_output": [said("b")]}
    (example,), log = read(tmp_path, row)
    assert (example.tools, log.notes) == ((function,), [])
    _, log = read(tmp_path, {**row, "input": {**asked, "tools": "f"}})
    assert [(each.field, each.rule) for each in log.findings] == [
        ("input.tools", "The value is text; it must be a list of function descriptions.")
    ]
    # Beside the input is not where OpenAI has them, and what is not read is told.
    (example,), log = read(tmp_path, {**row, "input": {"messages": [user("q")]}, "tools": [function]})
    assert (example.tools, log.notes) == ((), ["Columns that are not used: tools (1 row)."])
