"""Every shape of data is recognised by its columns, and every broken rule is said where it is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.data import formats
from pumice.data.rows import Log
from pumice.records import Example


def read(tmp_path: Path, *rows: Any) -> tuple[list[Example], Log]:
    path, log = tmp_path / "d.jsonl", Log("d.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(formats.examples(path, log)), log


def turns(example: Example) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in example.messages]


QA = [("user", "q"), ("assistant", "a")]
SHAPES = {
    "prompt/completion": ({"prompt": "q", "completion": "a"}, QA),
    "prompt/response": ({"prompt": "q", "response": "a"}, QA),
    "alpaca": ({"instruction": "q", "input": "x", "output": "a"}, [("user", "q\n\nx"), ("assistant", "a")]),
    "alpaca, empty input": ({"instruction": "q", "input": "", "output": "a"}, QA),
    "alpaca, null input": ({"instruction": "q", "input": None, "output": "a"}, QA),
    "question/answer": ({"question": "q", "answer": "a"}, QA),
    "question/answers": ({"question": "q", "answers": ["", "a", "b"]}, QA),
    "a system text": ({"system": "s", "prompt": "q", "completion": "a"}, [("system", "s"), *QA]),
    "messages": ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, QA),
    "messages and system": (
        {"system": "s", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        [("system", "s"), *QA],
    ),
    "system and parts inside": (
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": "a"},
            ]
        },
        [("system", "s"), *QA],
    ),
    "bedrock": (
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "s"}],
            "messages": [
                {"role": "user", "content": [{"text": "q"}]},
                {"role": "assistant", "content": [{"text": "a"}]},
            ],
        },
        [("system", "s"), *QA],
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
        [("system", "s"), *QA],
    ),
}


@pytest.mark.parametrize("row, want", SHAPES.values(), ids=SHAPES)
def test_every_shape_reads_as_a_conversation(tmp_path: Path, row: dict[str, Any], want: list[tuple[str, str]]) -> None:
    examples, log = read(tmp_path, row, row)
    assert not log.findings
    assert [turns(example) for example in examples] == [want, want]
    assert log.kind == ("chat" if "messages" in row or "conversations" in row else "instruction")


@pytest.mark.parametrize("column", ["text", "input"])
def test_text(tmp_path: Path, column: str) -> None:
    examples, log = read(tmp_path, {column: " a "}, {column: "b"})
    assert (log.kind, [example.text for example in examples]) == ("text", [" a ", "b"])


def test_tools_and_their_calls_are_kept(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"role": "assistant", "content": "a"},
    ]
    examples, log = read(tmp_path, {"messages": messages, "tools": [tool]})
    assert not log.findings
    assert examples[0].tools == (tool,)
    assert examples[0].messages[1] == {"role": "assistant", "content": "", "tool_calls": [call]}


def chat(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


USER, ASSISTANT = '"user", "content": "x"}', ', {"role": "assistant"'
LAST = '"assistant", "content": "x"}]'

FAULTS = {
    "empty prompt": ({"prompt": " ", "completion": "a"}, '" "', "prompt", "prompt is empty"),
    "empty answer": ({"prompt": "q", "completion": ""}, '""}', "completion", "answer is empty"),
    "number": ({"prompt": 42, "completion": "a"}, "42", "prompt", "is a number"),
    "true": ({"prompt": "q", "completion": True}, "true", "completion", "is true or false"),
    "null": ({"prompt": None, "completion": "a"}, "null", "prompt", "is null"),
    "list": ({"prompt": [], "completion": "a"}, "[]", "prompt", "is a list"),
    "escaped NUL": ({"prompt": "q\0", "completion": "a"}, '"q', "prompt", "NUL"),
    "missing key": ({"question": "q"}, "{", "", '"answer" is missing'),
    "near miss": ({"promt": "q", "completion": "a"}, '"promt"', "promt", '"promt" is not known'),
    "near miss of an optional key": ({"prompt": "q", "completion": "a", "sytem": "s"}, '"sytem"', "sytem", "not known"),
    "no answers": ({"question": "q", "answers": []}, "[]", "answers", "empty"),
    "strangers": ({"foo": "q", "bar": "a"}, "{", "", "fit no kind"),
    "user twice": (chat("user", "user", "assistant"), USER + ASSISTANT, "messages[1].role", "Two user turns"),
    "assistant twice": (chat("user", "assistant", "assistant"), LAST, "messages[2].role", "Two assistant turns"),
    "assistant first": (chat("assistant"), LAST, "messages[0].role", "first turn is the assistant's"),
    "user last": (chat("user", "assistant", "user"), USER + "]", "messages[2].role", "last turn is the user's"),
    "only a system turn": (chat("system"), '"system"', "messages[0].role", "last turn is the system's"),
    "late system": (chat("user", "system", "assistant"), '"system"', "messages[1].role", "must be the first"),
    "tool unasked": (chat("user", "tool", "assistant"), '"tool"', "messages[1].role", "no assistant called it"),
    "unknown role": (chat("user", "bot"), '"bot"', "messages[1].role", 'role "bot" is not known'),
    "a role in a list": (
        {"messages": [{"role": ["user"], "content": "x"}]},
        '["user"',
        "messages[0].role",
        "is a list",
    ),
    "no messages": ({"messages": []}, "[]", "messages", "no messages"),
    "messages as text": ({"messages": "x"}, '"x"', "messages", "is text; it must be a list"),
    "message as text": ({"messages": ["x"]}, '"x"', "messages[0]", "is text; it must be an object"),
    "no content": ({"messages": [{"role": "user"}]}, '{"role"', "messages[0]", '"content" is missing'),
    "misspelt role": ({"messages": [{"rol": "user", "content": "x"}]}, '"rol"', "messages[0].rol", "not known"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        '{"type"',
        "messages[0].content[0]",
        "must be text",
    ),
    "another schema": ({**chat("user", "assistant"), "schemaVersion": "v"}, '"v"', "schemaVersion", "'v'"),
    "weight 0": (
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]},
        "0}",
        "messages[1].weight",
        "weight 0",
    ),
}


@pytest.mark.parametrize("row, at, field, words", FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_place_field_and_sentence(
    tmp_path: Path, row: dict[str, Any], at: str, field: str, words: str
) -> None:
    examples, log = read(tmp_path, row)
    assert not examples
    assert log.total == 1
    finding = log.findings[0]
    assert finding.line == 1
    assert json.dumps(row)[finding.column - 1 :].startswith(at)
    assert finding.field == field
    assert words in finding.rule
    assert finding.fix


def test_suggestions_name_the_known_word(tmp_path: Path) -> None:
    for row, word in (({"promt": "q", "completion": "a"}, '"prompt"'), (chat("user", "bot"), '"assistant"')):
        _, log = read(tmp_path, row)
        assert word in log.findings[0].fix


def test_a_row_that_lacks_a_column_of_its_file_is_no_row_of_another_kind(tmp_path: Path) -> None:
    good, pair = {"prompt": "q", "completion": "a"}, {"prompt": "q", "chosen": "a", "rejected": "b"}
    for whole, part, word in (
        (good, {"prompt": "q"}, "completion"),
        ({**good, "label": True}, good, "label"),
        (pair, {"prompt": "q", "chosen": "a"}, "rejected"),
        ({"text": "t", "label": "a"}, {"text": "t"}, "label"),
    ):
        _, log = read(tmp_path, whole, whole, part)
        assert [(each.line, each.rule) for each in log.findings] == [(3, f'The key "{word}" is missing.')]


def test_a_row_of_another_kind_is_a_finding(tmp_path: Path) -> None:
    good = {"prompt": "q", "completion": "a"}
    examples, log = read(tmp_path, {"text": "t"}, good, good, {"question": "q", "answer": "a"})
    assert (len(examples), log.total, log.kind) == (3, 1, "instruction")
    assert log.findings[0].line == 1
    assert "text data; the file is instruction data" in log.findings[0].rule


def test_columns_that_are_not_used_are_noted_with_their_rows(tmp_path: Path) -> None:
    _, log = read(tmp_path, {"text": "a", "id": 1}, {"text": "b"}, {"text": "c", "id": 2})
    assert log.notes == ["Columns that are not used: id (2 rows)."]


def test_a_key_given_twice_is_not_lost_without_a_word(tmp_path: Path) -> None:
    path, log = tmp_path / "d.jsonl", Log("d.jsonl")
    path.write_text('{"text": "a", "text": "b"}\n{"text": "say \\"text\\", \\"text\\""}\n')
    assert [example.line for example in formats.examples(path, log)] == [2]
    assert (log.findings[0].column, log.findings[0].rule) == (15, 'The row has "text" twice.')
