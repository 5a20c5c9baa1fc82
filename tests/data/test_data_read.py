"""Each way in which a file can be wrong gets its own place and sentence; what is harmless is read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumice.data import formats
from pumice.data.rows import Log
from pumice.errors import InputError, NotFoundError
from pumice.records import Example

GOOD = b'{"prompt": "a", "completion": "b"}\n'


def read(path: Path) -> tuple[list[Example], Log]:
    log = Log(path.name)
    return list(formats.examples(path, log)), log


def read_bytes(tmp_path: Path, content: bytes, name: str = "d.jsonl") -> tuple[list[Example], Log]:
    (tmp_path / name).write_bytes(content)
    return read(tmp_path / name)


BROKEN = {
    "missing comma": (b'{"prompt": "a" "completion": "b"}\n', (1, 16), "comma is missing"),
    "trailing comma": (GOOD + b'{"prompt": "a", "completion": "b",}\n', (2, 35), "comma stands before the closing"),
    "comma after the row": (b'{"prompt": "a", "completion": "b"},\n', (1, 35), "comma stands after the row"),
    "two rows on one line": (GOOD.strip() + GOOD, (1, 35), "second row starts"),
    "single quotes": (b"{'prompt': 'a'}\n", (1, 2), "Single quotes"),
    "python constant": (b'{"prompt": None}\n', (1, 12), "None is not JSON"),
    "unquoted key": (b'{prompt: "a"}\n', (1, 2), "key must stand in double quotes"),
    "missing colon": (b'{"prompt" "a"}\n', (1, 11), "colon is missing"),
    "inner quote": (b'{"prompt": "he said "hi"", "completion": "b"}\n', (1, 22), "was expected, not 'hi"),
    "backslash": (b'{"prompt": "C:\\data"}\n', (1, 15), "no escape"),
    "raw tab": (b'{"prompt": "a\tb"}\n', (1, 14), "A tab stands"),
    "half a surrogate": (b'{"prompt": "\\ud800"}\n', (1, 13), "surrogate"),
    "truncated last line": (GOOD + b'{"prompt": "a", "comp', (2, 17), "ends in the middle"),
    "spread over lines": (b'{\n"prompt": "a"\n}\n', (1, 2), "several lines"),
    "NUL byte": (GOOD + b'{"prompt": "a\0"}\n', (2, 14), "NUL byte stands here; text holds none (byte 49 of"),
    "not UTF-8": (b'{"prompt": "\xc3\xa4\xe4"}\n', (1, 14), "Byte 0xe4 is not UTF-8 (byte 15 of"),
    "empty file": (b"", (1, 1), "empty"),
    "only blank lines": (b"\n\n", (1, 1), "no rows"),
    "no object": (GOOD + b'["a"]\n', (2, 1), "must be an object"),
}


@pytest.mark.parametrize("content, place, words", BROKEN.values(), ids=BROKEN)
def test_each_slip_has_its_own_sentence_and_place(
    tmp_path: Path, content: bytes, place: tuple[int, int], words: str
) -> None:
    _, log = read_bytes(tmp_path, content)
    assert log.total == 1
    assert (log.findings[0].line, log.findings[0].column) == place
    assert words in log.findings[0].rule
    assert log.findings[0].fix


ARRAYS = {
    "missing comma between rows": (b'[\n  {"text": "a"}\n  {"text": "b"}\n]', (3, 3), "between two rows"),
    "trailing comma": (b'[\n  {"text": "a"},\n]', (3, 1), "before the closing bracket"),
    "slip inside a row": (b'[{"text": "a"},\n {"text" "b"},\n {"text": "c"}]', (2, 10), "colon is missing"),
    "never closed": (b'[{"text": "a"}\n', (2, 1), "before the array is closed"),
    "cut in a row": (b'[{"text": "a"}, {"te', (1, 18), "middle of this row"),
    "more behind it": (b'[{"text": "a"}]\n[]', (2, 1), "Text follows"),
    "a row that is no object": (b'[{"text": "a"}, "b"]', (1, 17), "must be an object"),
    "an empty value": (b'[{"text": "a"},\n  {\n    "text": ""\n  }]', (3, 13), "empty"),
}


@pytest.mark.parametrize("content, place, words", ARRAYS.values(), ids=ARRAYS)
def test_slips_in_a_json_array(tmp_path: Path, content: bytes, place: tuple[int, int], words: str) -> None:
    examples, log = read_bytes(tmp_path, content, "d.json")
    assert [(f.line, f.column) for f in log.findings] == [place]
    assert words in log.findings[0].rule
    assert examples[0].text == "a"


def test_all_findings_are_counted_and_the_first_twenty_kept_in_file_order(tmp_path: Path) -> None:
    lines = [b'{"prompt": "a", "completion": ""}', b"{'x'}"] * 40
    _, log = read_bytes(tmp_path, GOOD + b"\n".join(lines))
    assert log.total == 80
    assert [finding.line for finding in log.findings] == list(range(2, 22))


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map("x{}".format)


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(words, words), min_size=1, max_size=4), ascii_only=st.booleans())
def test_every_way_of_writing_the_same_rows_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], ascii_only: bool
) -> None:
    folder = tmp_path_factory.mktemp("same")
    named = [{"prompt": prompt, "completion": completion} for prompt, completion in rows]
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in named).encode()
    for name, content in {
        "lf.jsonl": lines,
        "bom.jsonl": b"\xef\xbb\xbf" + lines,
        "crlf.jsonl": lines.replace(b"\n", b"\r\n"),
        "blank.jsonl": lines.replace(b"\n", b"\n\n"),
        "no-end.jsonl": lines.rstrip(b"\n"),
        "lines.json": lines,
        "array.json": json.dumps(named, ensure_ascii=ascii_only).encode(),
        "pretty.json": json.dumps(named, indent=2).encode(),
        "array.jsonl": json.dumps(named).encode(),
    }.items():
        examples, log = read_bytes(folder, content, name)
        assert not log.total, (name, log.findings)
        assert [tuple(turn["content"] for turn in each.messages) for each in examples] == rows, name


def test_what_is_harmless_is_noted(tmp_path: Path) -> None:
    _, log = read_bytes(tmp_path, b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + b"\r\n" + GOOD)
    notes = " ".join(log.notes)
    assert not log.total
    assert all(word in notes for word in ("BOM", "CRLF", "1 blank line"))
    _, log = read_bytes(tmp_path, b"[" + GOOD + b"]")
    assert "array" in log.notes[0]


CSV = {
    "duplicate column": (b"prompt,completion,prompt\na,b,c\n", (1, 19), "Two columns"),
    "too many cells": (b'prompt,completion\n"a, b",c\na,b,c\n', (3, 5), "3 cells"),
    "too few cells": (b"prompt,completion\na\n", (2, 1), "1 cells"),
    "empty cell": (b'prompt,completion\n"two\nlines", \na,b\n', (3, 8), "empty"),
    "open quote": (b'prompt,completion\na,"b\n', (2, 1), "never closed"),
    "quote inside": (b'prompt,completion\n"a"b,c\n', (2, 1), "inside a quoted cell"),
    "not UTF-8": (b"prompt,completion\na,\xe4\n", (2, 3), "byte 21 of"),
    "quote inside the header": (b'"prompt"x,completion\na,b\n', (1, 1), "inside a quoted cell"),
    "old Mac line ends": (b"prompt,completion\ra,b\r", (1, 1), "carriage return"),
    "empty": (b"", (1, 1), "empty"),
    "only a BOM": (b"\xef\xbb\xbf", (1, 1), "no rows"),
}


@pytest.mark.parametrize("content, place, words", CSV.values(), ids=CSV)
def test_slips_in_csv(tmp_path: Path, content: bytes, place: tuple[int, int], words: str) -> None:
    _, log = read_bytes(tmp_path, content, "d.csv")
    assert [(f.line, f.column) for f in log.findings] == [place]
    assert words in log.findings[0].rule


def test_csv_with_long_cells_line_breaks_and_semicolons(tmp_path: Path) -> None:
    long = "x" * 300_000
    examples, log = read_bytes(tmp_path, f'prompt;completion\r\n"a\nb";"{long}"\r\nc;d\r\n'.encode(), "d.csv")
    assert not log.total
    assert [(e.line, e.messages[0]["content"], len(e.messages[1]["content"])) for e in examples] == [
        (2, "a\nb", 300_000),
        (4, "c", 1),
    ]
    assert any("semicolons" in note for note in log.notes)


def test_parquet_places_are_row_and_column_numbers(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    many = ["a"] * 1500
    table = pyarrow.table({"id": [1] * 1500, "question": many, "answer": [*many[:1200], "", *many[:298], None]})
    pyarrow.parquet.write_table(table, path)
    examples, log = read(path)
    assert (len(examples), examples[-1].line) == (1498, 1499)
    assert [(f.line, f.column, f.field) for f in log.findings] == [(1201, 3, "answer"), (1500, 3, "answer")]


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_text_is_paragraphs_or_else_lines(tmp_path: Path) -> None:
    examples, log = read_bytes(tmp_path, b"\xef\xbb\xbfone\r\ntwo\r\n\r\n \r\nthree\r\n", "d.txt")
    assert [(e.line, e.text) for e in examples] == [(1, "one\ntwo"), (5, "three")]
    assert any("paragraph" in note for note in log.notes)
    examples, _ = read_bytes(tmp_path, b"one\ntwo\n\n\n", "d.txt")
    assert [(e.line, e.text) for e in examples] == [(1, "one"), (2, "two")]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("d.jsonl", gzip.compress(GOOD, mtime=0), "compressed with gzip"),
        ("d.csv", b"PK\x03\x04rest", "Excel"),
        ("d.json", b"PAR1rest", "a Parquet file"),
        ("d.jsonl", GOOD.decode().encode("utf-16"), "UTF-16"),
        ("d.parquet", GOOD, "not a Parquet file"),
        ("d.md", b"%PDF-1.7", "a PDF document, not .md"),
        ("d.txt", b"PK\x03\x04rest", "a Word document, not .txt"),
        ("d.pdf", b"# a", "not a PDF document"),
        ("d.docx", b"# a", "not a Word document"),
        ("d.docx", b"\xd0\xcf\x11\xe0\xa1\xb1", "with a password, not .docx"),
        ("d.xyz", GOOD, "not known"),
        ("d", GOOD, "not known"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_bytes(tmp_path, content, name)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "faq.jsonl").write_bytes(GOOD)
    with pytest.raises(NotFoundError) as missing:
        read(tmp_path / "fag.jsonl")
    assert "faq.jsonl" in missing.value.fix
    with pytest.raises(InputError, match="is a folder") as folder:
        read(tmp_path)
    assert "faq.jsonl" in folder.value.fix
    with pytest.raises(InputError, match="not on this machine"):
        read(Path("s3://bucket/faq.jsonl"))
