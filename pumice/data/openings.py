"""What stands before the answer that is judged or still to be written: a prompt, or a conversation so far.

Knows no kinds of data.
"""

from __future__ import annotations

from typing import Any, Literal

from pumice.data import chats
from pumice.data.cells import optional_text, text, wrong_type
from pumice.data.chats import Said
from pumice.data.locate import Path
from pumice.data.rows import Log, Row


def opening(row: Row, column: str, log: Log) -> list[Said]:
    """The turns of `column`, which is `messages`, `conversations` or a prompt's. Without those of a system column."""
    if column == "messages":
        return chats.messages(row, log)
    if column == "input":
        return _of_openai(row, log)
    if column == "conversations":
        return chats.sharegpt(row, log)
    if column == "instruction":
        return [({"role": "user", "content": asked(row, column, log)}, (column,))]
    return turns(row, row.value[column], (column,), "user", "The prompt", log)


def _of_openai(row: Row, log: Log) -> list[Said]:
    """The messages of OpenAI's `input`, as its files of pairs have it."""
    value = row.value["input"]
    if type(value) is not dict or type(value.get("messages")) is not list:
        wrong_type(row, value, ("input",), log, 'an object with "messages"')
        return []
    return chats.said(row, value["messages"], ("input", "messages"), log, chats.form_of(None))


def called(row: Row, column: str | None, log: Log) -> tuple[dict[str, Any], ...]:
    """The functions that the assistant may call behind the turns of `column`."""
    if column == "conversations":
        return ()
    if column == "input":
        # What is no object has been told with its messages.
        return chats.tools(row, log, ("input",)) if type(row.value["input"]) is dict else ()
    return chats.tools(row, log)


def asked(row: Row, column: str, log: Log) -> str:
    """The text of a prompt's column; behind an instruction its input."""
    question = text(row, row.value[column], (column,), "The prompt", log)
    if column == "instruction" and "input" in row.value:
        more = optional_text(row, row.value["input"], ("input",), log)
        return f"{question}\n\n{more}" if more else question
    return question


def turns(row: Row, value: Any, path: Path, role: Literal["user", "assistant"], what: str, log: Log) -> list[Said]:
    """The turns of a value that is text, which `role` says, or one message, or a list of messages."""
    if type(value) is str:
        return [({"role": role, "content": text(row, value, path, what, log)}, path)]
    if type(value) is dict:
        return chats.message_said(row, value, path, log)
    if type(value) is list:
        return chats.said(row, value, path, log, chats.form_of(next(iter(value), None)))
    wrong_type(row, value, path, log, "text or a list of messages")
    return []
