"""Conversations as users bring them: OpenAI's, Bedrock's and ShareGPT's form. Knows no files and no templates."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pumice.data.cells import text, wrong_type
from pumice.data.locate import Path
from pumice.data.rows import Log, Row
from pumice.records import Example, Turn


class Form(NamedTuple):
    """How messages name their speaker and what is said."""

    role: str
    content: str
    roles: Mapping[str, str]


_OPENAI = Form(
    "role",
    "content",
    {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"},
)
_SHAREGPT = Form(
    "from",
    "value",
    {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"},
)
_SLIPS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant"}


Said = tuple[Turn, Path]
"""A turn, and the place of what says whose it is. A plain tuple, as there is one for each message of a file."""


def read_messages(row: Row, log: Log) -> Example | None:
    """`messages` with role and content; content is text, or parts of text as OpenAI and Bedrock write them."""
    before = log.total
    turns, called = messages(row, log), tools(row, log)
    return _conversation(row, turns, called, before, log)


def read_sharegpt(row: Row, log: Log) -> Example | None:
    """`conversations` with from (human, gpt, system) and value."""
    before = log.total
    return _conversation(row, sharegpt(row, log), (), before, log)


def messages(row: Row, log: Log) -> list[Said]:
    """The turns of the column `messages`."""
    version = row.value.get("schemaVersion")
    if version not in (None, "bedrock-conversation-2024"):
        rule = f"The schema {version!r} is not known; it must be bedrock-conversation-2024."
        log.fault(row, ("schemaVersion",), rule, "Write the conversation in that schema, or without schemaVersion.")
    return said(row, row.value["messages"], ("messages",), log)


def sharegpt(row: Row, log: Log) -> list[Said]:
    """The turns of the column `conversations`."""
    if row.value.get("tools"):
        log.fault(row, ("tools",), "Tools are not read in this form.", 'Use {"messages": […], "tools": […]}.')
    return said(row, row.value["conversations"], ("conversations",), log, _SHAREGPT)


def said(row: Row, value: Any, path: Path, log: Log, form: Form = _OPENAI) -> list[Said]:
    """The turns of a list of messages, those that can be read; what is wrong with the others goes to `log`."""
    if type(value) is not list:
        wrong_type(row, value, path, log, "a list of messages")
        return []
    if not value:
        log.fault(row, path, "The conversation has no messages.", "Write at least a user and an assistant message.")
    key, _, roles = form
    turns: list[Said] = []
    for index, message in enumerate(value):
        here = (*path, index)
        # Most messages are as they should be, and a file may hold a million.
        if type(message) is dict and type(role := message.get(key)) is str and role in roles:
            turns.append((_turn(row, message, here, form, log), (*here, key)))
        else:
            _unreadable(row, message, here, form, log)
    return turns


def message_said(row: Row, message: Any, path: Path, log: Log) -> list[Said]:
    """The turn of one message, in the form that it is in; none, and a finding, where it cannot be read."""
    form = form_of(message)
    if type(message) is dict and type(role := message.get(form.role)) is str and role in form.roles:
        return [(_turn(row, message, path, form, log), (*path, form.role))]
    _unreadable(row, message, path, form, log)
    return []


def _unreadable(row: Row, message: Any, path: Path, form: Form, log: Log) -> None:
    if type(message) is not dict:
        wrong_type(row, message, path, log, f'an object with "{form.role}" and "{form.content}"')
    elif form.role not in message:
        _missing(row, message, path, form.role, log)
    else:
        _unknown_role(row, message[form.role], (*path, form.role), form.roles, log)


def form_of(message: Any) -> Form:
    """ShareGPT's form for a message that names its speaker under `from`, else OpenAI's."""
    return _SHAREGPT if type(message) is dict and "from" in message and "role" not in message else _OPENAI


def _turn(row: Row, message: dict[str, Any], path: Path, form: Form, log: Log) -> Turn:
    key, where, roles = form
    role, calls = roles[message[key]], message.get("tool_calls")
    if message.get("weight") == 0:
        log.fault(row, (*path, "weight"), "Messages of weight 0 are not read in this version.", "Delete the weight.")
    turn: Turn = {"role": role, "content": ""}  # type: ignore[typeddict-item]
    if calls:
        turn["tool_calls"] = calls
    content = message.get(where)
    if where not in message and not calls:
        _missing(row, message, path, where, log)
    elif content or not calls:
        turn["content"] = _content(row, content, (*path, where), f"The {role}'s text", log)
    return turn


def _content(row: Row, content: Any, path: Path, what: str, log: Log) -> str:
    if type(content) is not list:
        return text(row, content, path, what, log)
    parts: list[str] = []
    for index, part in enumerate(content):
        if type(part) is not dict or "text" not in part:
            rule = "A part of a message must be text; images, documents and sound are not read in this version."
            log.fault(row, (*path, index), rule, 'Write {"text": "…"}.')
        else:
            parts.append(text(row, part["text"], (*path, index, "text"), what, log))
    if not content:
        log.fault(row, path, f"{what} is empty.", "Write it, or delete the row.")
    return "".join(parts)


def tools(row: Row, log: Log, inside: Path = ()) -> tuple[dict[str, Any], ...]:
    """The functions of the column `tools`, if the row has it, or of `tools` in the object at `inside`."""
    holder = row.value
    for key in inside:
        holder = holder[key]
    value = holder.get("tools")
    if value is None:
        return ()
    if type(value) is not list or not all(type(tool) is dict for tool in value):
        wrong_type(row, value, (*inside, "tools"), log, "a list of function descriptions")
        return ()
    return tuple(value)


def system(row: Row, turns: Sequence[Said], log: Log) -> list[Said]:
    """The turn of the column `system`, if the row has it; `turns` must not begin with one as well."""
    value = row.value.get("system")
    if not value:
        return []
    content = _content(row, value, ("system",), "The system text", log)
    if turns and turns[0][0]["role"] == "system":
        log.fault(row, ("system",), "The row has two system texts: here and in its messages.", "Keep one of them.")
    return [({"role": "system", "content": content}, ("system",))]


def _conversation(
    row: Row, turns: list[Said], called: tuple[dict[str, Any], ...], before: int, log: Log
) -> Example | None:
    """The example, if the turns come in an order that can be trained on. Broken turns have been reported already."""
    if log.total == before and check_order(row, turns, log):
        check_answered(row, turns, log)
    turns = [*system(row, turns, log), *turns]
    return Example(row.line, spoken(turns), called) if log.total == before else None


def spoken(turns: Sequence[Said]) -> tuple[Turn, ...]:
    """The turns alone."""
    return tuple([turn for turn, _ in turns])


def check_order(row: Row, turns: Sequence[Said], log: Log) -> bool:
    """Says the first turn that is out of order; what follows it would only repeat that. True if there is none."""
    previous = ""
    for index, (turn, path) in enumerate(turns):
        role = turn["role"]
        rule, fix = _ORDER.get((previous, role), ("", ""))
        if role == "tool" and previous == "assistant" and not turns[index - 1][0].get("tool_calls"):
            rule, fix = "A tool answers here, but the assistant called none.", "Add tool_calls to the turn before."
        if index and role == "system":
            rule, fix = "The system turn must be the first.", "Move it to the start."
        if rule:
            log.fault(row, path, rule, fix)
            return False
        previous = "" if role == "system" else role
    return True


def check_answered(row: Row, turns: Sequence[Said], log: Log) -> None:
    """Says it if the last turn is not the assistant's."""
    turn, path = turns[-1]
    if turn["role"] != "assistant":
        rule = f"The last turn is the {turn['role']}'s; it must be the assistant's, which is what is trained."
        log.fault(row, path, rule, "Add the assistant's answer, or delete the last turn.")


_ALTERNATE = "Two {0} turns follow each other; user and assistant alternate."
_JOIN = "Join them into one turn, or add what is missing between them."
_ORDER = {
    ("", "assistant"): ("The first turn is the assistant's; it must be the user's.", "Add the user's turn before it."),
    ("", "tool"): ("The first turn is a tool's; it must be the user's.", "Add the user's turn before it."),
    ("user", "user"): (_ALTERNATE.format("user"), _JOIN),
    ("assistant", "assistant"): (_ALTERNATE.format("assistant"), _JOIN),
    ("user", "tool"): ("A tool answers here, but no assistant called it.", "Add the assistant's turn with tool_calls."),
    ("tool", "user"): ("The user speaks right after a tool.", "Add the assistant's turn that uses the tool's answer."),
}


def _missing(row: Row, message: dict[str, Any], path: Path, key: str, log: Log) -> None:
    near = difflib.get_close_matches(key, list(message), 1, 0.7)
    if near:
        fix = f'Did you mean "{key}"? Rename it.'
        log.fault(row, (*path, near[0]), f'The key "{near[0]}" is not known.', fix, key=True)
    else:
        log.fault(row, path, f'The key "{key}" is missing.', f'Every message needs "{key}".')


def _unknown_role(row: Row, role: Any, path: Path, roles: Mapping[str, str], log: Log) -> None:
    if type(role) is not str:
        wrong_type(row, role, path, log)
        return
    meant = _SLIPS.get(role.lower()) or next(iter(difflib.get_close_matches(role.lower(), list(roles), 1)), None)
    known = ", ".join(roles)
    fix = f'Did you mean "{meant}"?' if meant in roles else "Write one of these."
    log.fault(row, path, f'The role "{role}" is not known; known are {known}.', fix)
