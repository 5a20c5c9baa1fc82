"""Rows become examples: the kind of a file is found by its columns, and each row is held to that kind's rules.

Knows no file formats and no models.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pumice.data import chats, labelled, preferences, prompts, read
from pumice.data.cells import optional_text, text
from pumice.data.documents import are_documents
from pumice.data.locate import Path as Place
from pumice.data.openings import asked
from pumice.data.rows import Log, Row
from pumice.records import Example, Kind, Turn

_HEAD = 100
"""So many rows say what kind a file is."""

_PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("question", "answer"),
    ("question", "answers"),
)
_SHAPES = (
    '{"prompt", "completion"}, {"instruction", "input", "output"} or {"question", "answer"}; '
    '{"text"}; {"messages": [{"role", "content"}, …]}; {"prompt", "chosen", "rejected"}; '
    '{"prompt", "completion", "label"}; {"text", "label"}; {"prompt"}'
)


class Shape(NamedTuple):
    """How one set of columns is read."""

    kind: Kind
    needs: tuple[str, ...]
    may: tuple[str, ...]
    read: Callable[[Row, Log], Example | None]


class _Seen(NamedTuple):
    """What is known of one set of columns: its shape and the columns which that leaves over.

    Or, without a shape, the column that speaks against the nearest one, and the shape that it speaks for.
    """

    shape: Shape | None
    unused: tuple[str, ...] = ()
    stray: tuple[str, Shape] | None = None


def examples(path: Path, log: Log) -> Iterator[Example]:
    """Every good row of a file as an example, in file order; all that is wrong goes to `log`, and the kind too.

    Raises InputError where the file cannot be read at all.
    """
    rows = read.rows(path, log)
    # A document is long, and its kind is known.
    head = list(islice(rows, 1 if are_documents(path) else _HEAD))
    if not head:
        if not log.total:
            log.add((1, 1), "", "The file holds no rows.", "Write at least one row.")
        return
    seen: dict[tuple[str, ...], _Seen] = {}
    usual = _usual(head, seen)
    log.kind = usual.kind if any(known.shape for known in seen.values()) else None
    unused: Counter[str] = Counter()
    for row in chain(head, rows):
        if type(row.value) is not dict:
            _not_object(row, log)
            continue
        columns = tuple(row.value)
        known = seen.get(columns) or _see(columns, seen)
        shape = known.shape
        if shape is None or shape.kind is not usual.kind:
            _misfit(row, known, usual, log)
        elif known.unused and _near_miss(row, shape, known.unused, log):
            continue
        elif doubled := row.doubled(shape.needs):
            fix = "Keep one of them; the last one would be taken, and the others lost."
            log.fault(row, (doubled,), f'The row has "{doubled}" twice.', fix, key=True)
        else:
            # Beside a prompt all is used: a scorer gets it.
            if known.unused and shape.kind is not Kind.PROMPTS:
                unused.update(known.unused)
            example = shape.read(row, log)
            if example is not None:
                yield example
    if unused:
        names = ", ".join(
            f"{name} ({count:,} {'row' if count == 1 else 'rows'})" for name, count in unused.most_common(10)
        )
        log.note(f"Columns that are not used: {names}.")


def _usual(head: list[Row], seen: dict[tuple[str, ...], _Seen]) -> Shape:
    """The shape most of the first rows have; if none has any, the nearest."""
    columns = [tuple(row.value) for row in head if type(row.value) is dict]
    named = Counter(shape for each in columns if (shape := _see(each, seen).shape))
    if named:
        return named.most_common(1)[0][0]
    return max(_ALL, key=lambda shape: max((_closeness(frozenset(each), shape) for each in columns), default=0.0))


def _see(columns: tuple[str, ...], seen: dict[tuple[str, ...], _Seen]) -> _Seen:
    known = _recognise(frozenset(columns))
    # Rows with ever other columns must not fill the memory.
    if len(seen) < 10_000:
        seen[columns] = known
    return known


def _recognise(columns: frozenset[str]) -> _Seen:
    for shape in _ALL:
        if columns.issuperset(shape.needs):
            stray = _stray(columns, shape)
            unused = tuple(sorted(columns.difference(shape.needs, shape.may)))
            return _Seen(None, (), stray) if stray else _Seen(shape, unused)
    return _Seen(None)


def _stray(columns: frozenset[str], shape: Shape) -> tuple[str, Shape] | None:
    """The column that says that more is meant than `shape`, and what: `{"prompt", "choosen"}` is no lone prompt.

    A label does not say so: texts, chats and prompts have columns of that name for many reasons.
    """
    for more in sorted(_ALL, key=lambda each: len(each.needs)):
        if set(more.needs) > set(shape.needs):
            for need in sorted(set(more.needs) - {*shape.needs, "label"}):
                for column in sorted(columns.difference(shape.needs, shape.may)):
                    if _ratio(need, column.strip(), 0.8):
                        return column, more
    return None


def _closeness(columns: frozenset[str], shape: Shape) -> float:
    if columns.issuperset(shape.needs):
        return 0.0 if _stray(columns, shape) else 1.0
    return sum(max((_ratio(need, column) for column in columns), default=0.0) for need in shape.needs) / len(
        shape.needs
    )


def _ratio(need: str, column: str, least: float = 0.75) -> float:
    ratio = difflib.SequenceMatcher(None, need, column.lower()).ratio()
    return ratio if ratio >= least else 0.0


def _misfit(row: Row, known: _Seen, usual: Shape, log: Log) -> None:
    """A row without the columns of its file's kind."""
    columns = list(row.value)
    missing = [need for need in usual.needs if need not in columns]
    # A row that only lacks some of this file's columns may be whole as another kind; it is meant to be of this one.
    if known.shape and known.shape.kind is not usual.kind and not set(known.shape.needs) < set(usual.needs):
        rule = f"This row is {known.shape.kind} data; the file is {usual.kind} data by its first rows."
        log.fault(row, (), rule, "One file holds one kind: move the row to a file of its own.")
        return
    if known.stray and not missing:
        column, more = known.stray
        lacks = " and ".join(f'"{need}"' for need in more.needs if need not in columns)
        rule = f'The column "{column}" looks like one of {more.kind} data, but the row has no {lacks}.'
        log.fault(row, (column,), rule, "Rename it, or add what is missing.", key=True)
        return
    if not _closeness(frozenset(columns), usual):
        shown = ", ".join(str(column) for column in columns[:10]) or "none"
        log.fault(row, (), f"The columns ({shown}) fit no kind of data.", f"Known are {_SHAPES}.")
        return
    for need in missing:
        spare = [column for column in columns if column not in (*usual.needs, *usual.may)]
        near = difflib.get_close_matches(need, spare, 1, 0.7) or [c for c in spare if c.strip().lower() == need][:1]
        if near:
            _did_you_mean(row, near[0], need, log)
        else:
            log.fault(row, (), f'The key "{need}" is missing.', f'Every row of this file needs "{need}".')


def _near_miss(row: Row, shape: Shape, unused: tuple[str, ...], log: Log) -> bool:
    """True when an unused column looks like a misspelt optional one; it would be lost without a word."""
    absent = [name for name in shape.may if name not in row.value]
    for column in unused:
        near = difflib.get_close_matches(column.strip().lower(), absent, 1, 0.8)
        if near:
            _did_you_mean(row, column, near[0], log)
            return True
    return False


def _did_you_mean(row: Row, column: str, meant: str, log: Log) -> None:
    log.fault(row, (column,), f'The key "{column}" is not known.', f'Did you mean "{meant}"? Rename it.', key=True)


def _not_object(row: Row, log: Log) -> None:
    log.fault(row, (), "A row must be an object of keys and values.", 'Write {"prompt": "…", "completion": "…"}.')


def _instruction(prompt: str, completion: str) -> Shape:
    """Prompt and completion under the names that `_PAIRS` gives them."""
    needs = (prompt, completion)
    may = ("input", "system") if prompt == "instruction" else ("system",)

    def read_row(row: Row, log: Log) -> Example | None:
        value: Mapping[str, Any] = row.value
        before = log.total
        question = asked(row, prompt, log)
        answer: Any = value[completion]
        place: Place = (completion,)
        if completion == "answers" and type(answer) is list:
            answer, place = _first_answer(answer)
        answered = text(row, answer, place, "The answer", log)
        system = optional_text(row, value["system"], ("system",), log) if "system" in value else ""
        if log.total != before:
            return None
        exchange: tuple[Turn, ...] = ({"role": "user", "content": question}, {"role": "assistant", "content": answered})
        return Example(row.line, ({"role": "system", "content": system}, *exchange) if system else exchange)

    return Shape(Kind.INSTRUCTION, needs, may, read_row)


def _first_answer(answers: list[Any]) -> tuple[Any, Place]:
    for index, answer in enumerate(answers):
        if answer:
            return answer, ("answers", index)
    return "", ("answers",)


def _text(column: str) -> Shape:
    def read_row(row: Row, log: Log) -> Example | None:
        before = log.total
        content = text(row, row.value[column], (column,), "The text", log)
        return Example(row.line, text=content) if log.total == before else None

    return Shape(Kind.TEXT, (column,), (), read_row)


_SYSTEM, _SCHEMA, _INPUT = ("system", "tools"), ("system", "tools", "schemaVersion"), ("input", "system", "tools")
_ALL = (
    Shape(Kind.PREFERENCE, ("prompt", "chosen", "rejected"), _SYSTEM, preferences.pairs("prompt")),
    Shape(Kind.PREFERENCE, ("instruction", "chosen", "rejected"), _INPUT, preferences.pairs("instruction")),
    Shape(Kind.PREFERENCE, ("question", "chosen", "rejected"), _SYSTEM, preferences.pairs("question")),
    Shape(Kind.PREFERENCE, ("messages", "chosen", "rejected"), _SCHEMA, preferences.pairs("messages")),
    Shape(Kind.PREFERENCE, ("conversations", "chosen", "rejected"), _SYSTEM, preferences.pairs("conversations")),
    Shape(Kind.PREFERENCE, ("input", *preferences.OPENAI), (), preferences.pairs("input", preferences.OPENAI)),
    Shape(Kind.PREFERENCE, ("chosen", "rejected"), _SYSTEM, preferences.pairs(None)),
    Shape(Kind.UNPAIRED, ("prompt", "completion", "label"), _SYSTEM, preferences.judged("prompt", "completion")),
    Shape(Kind.UNPAIRED, ("prompt", "response", "label"), _SYSTEM, preferences.judged("prompt", "response")),
    Shape(Kind.UNPAIRED, ("messages", "label"), _SCHEMA, preferences.judged("messages", None)),
    Shape(Kind.UNPAIRED, ("conversations", "label"), _SYSTEM, preferences.judged("conversations", None)),
    Shape(Kind.LABELLED, ("text", "label"), (), labelled.read_labelled),
    Shape(Kind.CHAT, ("messages",), _SCHEMA, chats.read_messages),
    Shape(Kind.CHAT, ("conversations",), _SYSTEM, chats.read_sharegpt),
    *(_instruction(prompt, completion) for prompt, completion in _PAIRS),
    _text("text"),
    _text("input"),
    Shape(Kind.PROMPTS, ("prompt",), _SYSTEM, prompts.read_prompt),
)
"""The first whose columns a row has is the one that it is read by."""
