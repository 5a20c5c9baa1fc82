"""Rows are the same ids however many are made at once, in whichever process, and whether they were kept or not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pumice import plan
from pumice.bases import resolve
from pumice.config import Home
from pumice.data import formats, kept, tokenise
from pumice.data.render import Renderer
from pumice.data.rows import Log
from pumice.data.token_rows import Rows
from pumice.data.tokenise import fit
from pumice.data.window import Window
from pumice.errors import DataError, InputError, PumiceError
from pumice.plan import gather
from pumice.records import Base, Example, Tokens
from pumice.train.methods import METHODS
from pumice.train.recipe import Recipe, make_recipe

TOOL = {"type": "function", "function": {"name": "weigh", "description": "d", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "weigh", "arguments": '{"of": "ä"}'}}


def said(*turns: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]


def made(kind: str, n: int) -> dict[str, Any]:
    """The n-th row of a kind, each tenth a long one."""
    question, answer = f"Question {n} é世?", f"Answer {n}. " * (90 if n % 10 == 7 else 1 + n % 4)
    called = [*said(question), {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    rows: dict[str, dict[str, Any]] = {
        "instruction": {"prompt": question, "completion": answer},
        "chat": {"messages": said(question, "Yes.", "Why?", answer)},
        "tools": {"messages": [*called, {"role": "tool", "content": "3 kg"}, *said("x", answer)[1:]], "tools": [TOOL]},
        "text": {"text": f"{question} {answer}\n\nA new paragraph. <|im_end|>"},
        "preference": {"prompt": question, "chosen": answer, "rejected": f"No, {n}."},
        "unpaired": {"messages": said(question, "Yes.", "Why?", answer), "label": n % 3 == 0},
        "labelled": {"text": answer, "label": f"class {n % 3}"},
        "prompts": {"prompt": question, "reference": n, "more": {"a": [1.5, None, "世"]}},
    }
    return rows[kind]


def alone(examples: Sequence[Example], renderer: Renderer, policy: str | None) -> list[Tokens]:
    """The rows one by one."""
    window = Window(renderer, LIMIT, policy, Log("rows"))  # type: ignore[arg-type]
    return [each for example in examples for each in window.take(example, renderer.train(example))]


LIMIT = 256
CASES = [
    ("instruction", "lora", "truncate", 40),
    ("chat", "lora", "drop", 36),
    ("tools", "lora", "drop", 36),
    ("text", "cpt", None, 44),
    ("preference", "dpo", "truncate", 40),
    ("preference", "kto", "drop", 76),
    ("unpaired", "kto", "drop", 36),
    ("labelled", "head", "truncate", 40),
    ("prompts", "rlhf", "drop", 40),
    ("chat", "rlhf", "drop", 40),
]


@pytest.mark.parametrize(("kind", "method", "policy", "count"), CASES)
def test_rows_are_the_same_one_by_one_at_once_from_processes_and_from_disk(
    tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, method: str, policy: str | None, count: int
) -> None:
    path = write(tmp_path / "rows.jsonl", *(made(kind, n) for n in range(40)))
    reads = METHODS[method]().reads
    examples = [row for example in formats.examples(path, Log("rows")) for row in reads(example)]
    renderer = Renderer(tiny.folder)
    wanted = alone(examples, renderer, policy)
    assert count == len(wanted)
    given: Any = (examples, renderer, LIMIT, policy)
    here = fit(*given)
    assert list(here.tokens) == wanted
    # Many batches, which come back as their processes are done.
    monkeypatch.setattr(tokenise, "_ROWS", 3)
    away = fit(*given, target=tmp_path / "rows.arrow", large=True)
    assert list(away.tokens) == list(Rows.open(tmp_path / "rows.arrow")) == wanted
    assert away.note == here.note and bool(here.note) == (method != "rlhf")
    assert here.tokens.sizes.tolist() == [row.size for row in wanted]
    counted = [sum(each != -100 for one in row.endings for each in one.labels[1:]) for row in wanted]
    assert away.tokens.trained.tolist() == counted
    assert away.tokens.used() == {each for row in wanted for one in row.endings for each in one.ids}


def test_a_base_that_reads_and_writes_makes_the_same_rows(tiny: Base, tmp_path: Path) -> None:
    shutil.copytree(tiny.folder, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((tiny.folder / "config.json").read_text()) | {"architectures": ["T5ForConditionalGeneration"]}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    renderer = Renderer(tmp_path / "base")
    assert renderer.seq2seq
    path = write(tmp_path / "rows.jsonl", *(made("instruction", n) for n in range(40)))
    examples = list(formats.examples(path, Log("rows")))
    assert list(fit(examples, renderer, LIMIT, "drop").tokens) == alone(examples, renderer, "drop")


def test_findings_of_processes_are_those_of_one(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenise, "_ROWS", 3)
    renderer = Renderer(tiny.folder)
    turns = ({"role": "user", "content": "why " * 100}, {"role": "assistant", "content": "so"})
    examples = [Example(line, turns) for line in range(1, 31)]  # type: ignore[arg-type]
    told = []
    for large in (False, True):
        with pytest.raises(DataError) as caught:
            fit(examples, renderer, 64, "error", "rows.jsonl", large=large)
        told.append(str(caught.value))
    assert told[0] == told[1] and "30 errors" in told[0] and "rows.jsonl:20:1:" in told[0]
    assert "and 10 more" in told[0]
    assert fit([*examples, Example(31, text="one")], renderer, 64, "drop", large=True).note.startswith("30 rows have")


def test_a_process_that_ends_by_itself_is_told(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PumiceError, match="ended by itself, with code 1"):
        fit([Example(1, text="one")], Renderer(tiny.folder), large=True)


def test_what_a_scorer_gets_is_what_the_table_held() -> None:
    facts = {"at": datetime(2026, 1, 2, tzinfo=UTC), "price": Decimal("1.10"), "map": [("a", 1)], "bytes": b"\xff"}
    rows = [Tokens((1,), (), facts=facts), Tokens((), (), label=True), Tokens((5, 6), (-100, 6), label="x")]
    assert list(Rows.of(rows)) == rows
    with pytest.raises(Exception, match="no plain value"):
        Rows.of([Tokens((1,), (), facts={"run": print})])[0]


def test_a_part_of_rows_is_made_of_those_rows_alone() -> None:
    rows = [Tokens((n, n + 1), (-100, n + 1), label=f"class {n}") for n in range(2500)]
    part = Rows.of(rows).select([2400, 3, 3])
    assert list(part) == [rows[2400], rows[3], rows[3]] == list(Rows.of(rows)[:2401].select([2400, 3, 3]))
    assert (part.labels(), part.used()) == ({"class 3", "class 2400"}, {3, 4, 2400, 2401})
    assert part[-1] == rows[3] and Rows.of(part) is part
    with pytest.raises(IndexError):
        part[3]


@pytest.fixture
def recipe(tiny: Base, tmp_path: Path) -> Recipe:
    path = write(tmp_path / "rows.jsonl", *(made("instruction", n) for n in range(220)))
    return make_recipe({"data": str(path), "model": str(tiny.folder), "max_length": 512, "too_long": "truncate"})


def unread(*_: Any) -> Any:
    raise AssertionError("the file was read again")


def test_what_was_made_once_is_not_made_again(
    tiny: Base, home: Home, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gather(recipe, tiny, home)
    with monkeypatch.context() as patch:
        patch.setattr(formats, "examples", unread)
        again = gather(recipe.model_copy(update={"method": "full", "seed": 3}), tiny, home)
    assert list(again.rows.tokens) == list(first.rows.tokens) and len(again.rows.tokens) == 200
    assert again.sets.questions == first.sets.questions and len(again.sets.questions) == 20
    assert (again.rows.note, again.sets.name, again.dataset.sha256) == (
        first.rows.note,
        "held-out rows",
        first.dataset.sha256,
    )
    assert list(again.sets.trained) == list(first.sets.trained)


@pytest.mark.parametrize("change", ["data", "max_length", "too_long", "validation", "template", "tokenizer", "method"])
def test_whatever_decides_the_rows_makes_other_ones(
    tiny: Base, home: Home, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    gather(recipe, tiny, home)
    data, base, values = Path(recipe.data), tiny, dict[str, Any]()
    if change == "data":
        # As long, and as old, as it was.
        before = data.stat()
        data.write_text(data.read_text().replace("Question 5 ", "Question X "))
        os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    if change in ("template", "tokenizer"):
        shutil.copytree(tiny.folder, tmp_path / "base")
        name, word, other = {
            "template": ("chat_template.jinja", "system", "sistem"),
            "tokenizer": ("tokenizer.json", '"ignore_merges": false', '"ignore_merges": true'),
        }[change]
        file = tmp_path / "base" / name
        assert word in file.read_text()
        file.write_text(file.read_text().replace(word, other))
        base = resolve.describe(tmp_path / "base", "base", "folder:base")
    if change == "validation":
        values = {"validation": str(write(tmp_path / "v.jsonl", made("instruction", 5)))}
    others: dict[str, Any] = {"max_length": 500, "too_long": "drop", "method": "rlhf"}
    values |= {change: others[change]} if change in others else {}
    monkeypatch.setattr(plan, "fit", unread)
    with pytest.raises(AssertionError, match="read again"):
        gather(recipe.model_copy(update=values), base, home)


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_kept(
    tiny: Base, home: Home, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*given: Any) -> Any:
        found = fit(*given)
        Path(recipe.data).write_text(Path(recipe.data).read_text().replace("Question 5 ", "Question X "))
        return found

    monkeypatch.setattr(plan, "fit", meanwhile)
    with pytest.raises(InputError, match="has changed while it was read"):
        gather(recipe, tiny, home)
    assert [path.suffix for path in kept.kept_in(home).folder.iterdir()] == [".json"]


def test_the_rows_used_last_are_kept_and_a_damaged_entry_is_made_again(
    tiny: Base, home: Home, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths, folder = (100, 200, 300), kept.kept_in(home).folder
    made = [gather(recipe.model_copy(update={"max_length": each, "too_long": "drop"}), tiny, home) for each in lengths]
    entries = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)
    assert len(entries) == 3
    size = sum(file.stat().st_size for file in entries[0].iterdir())
    monkeypatch.setattr(kept, "MOST", round(3.5 * size))
    os.utime(entries[0])
    gather(recipe.model_copy(update={"max_length": 500, "too_long": "drop"}), tiny, home)
    assert entries[0].exists() and not entries[1].exists()
    # Rows whose file is gone are still there for whoever has them open.
    assert len(list(made[1].rows.tokens)) == len(made[1].rows.tokens)
    # Deleted before it is written: rows that are mapped from a file must not change under whoever has them open.
    (entries[0] / "rows.arrow").unlink()
    (entries[0] / "rows.arrow").write_bytes(b"ARROW1 and no more")
    again = gather(recipe.model_copy(update={"max_length": 100, "too_long": "drop"}), tiny, home)
    assert list(again.rows.tokens) == list(made[0].rows.tokens)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_damaged_facts_are_found_out_again(tmp_path: Path) -> None:
    found = kept.Kept(tmp_path)
    found.keep_facts("key", {"rows": 3})
    assert found.facts("key") == {"rows": 3}
    (tmp_path / "key.json").write_text('{"rows": ')
    assert found.facts("key") is None
