"""Conversations as users bring them: OpenAI's, Bedrock's and ShareGPT's form. Knows no files and no templates."""

from __future__ import annotations

import difflib
from typing import Any

from pumice.data.cells import text, wrong_type
from pumice.data.locate import Path
from pumice.data.rows import Log, Row
from pumice.records import Example, Turn

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_SHAREGPT = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_SLIPS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant"}


def read_messages(row: Row, log: Log) -> Example | None:
    """`messages` with role and content; content is text, or parts of text as OpenAI and Bedrock write them."""
    value, before = row.value, log.total
    version = value.get("schemaVersion")
    if version not in (None, "bedrock-conversation-2024"):
        rule = f"The schema {version!r} is not known; it must be bedrock-conversation-2024."
        log.fault(row, ("schemaVersion",), rule, "Write the conversation in that schema, or without schemaVersion.")
    turns = _turns(row, "messages", ("role", "content"), _ROLES, log)
    tools = _tools(row, log) if "tools" in value else ()
    return _conversation(row, "messages", "role", turns, tools, before, log)


def read_sharegpt(row: Row, log: Log) -> Example | None:
    """`conversations` with from (human, gpt, system) and value."""
    before = log.total
    turns = _turns(row, "conversations", ("from", "value"), _SHAREGPT, log)
    if row.value.get("tools"):
        log.fault(row, ("tools",), "Tools are not read in this form.", 'Use {"messages": […], "tools": […]}.')
    return _conversation(row, "conversations", "from", turns, (), before, log)


def _turns(row: Row, column: str, keys: tuple[str, str], roles: dict[str, str], log: Log) -> list[Turn]:
    messages = row.value[column]
    if type(messages) is not list:
        wrong_type(row, messages, (column,), log, "a list of messages")
        return []
    if not messages:
        log.fault(
            row, (column,), "The conversation has no messages.", "Write at least a user and an assistant message."
        )
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        path: Path = (column, index)
        if type(message) is not dict:
            wrong_type(row, message, path, log, f'an object with "{keys[0]}" and "{keys[1]}"')
        elif keys[0] not in message:
            _missing(row, message, path, keys[0], log)
        elif message[keys[0]] not in roles:
            _unknown_role(row, message[keys[0]], (*path, keys[0]), roles, log)
        else:
            turns.append(_turn(row, message, path, keys, roles, log))
    return turns


def _turn(
    row: Row, message: dict[str, Any], path: Path, keys: tuple[str, str], roles: dict[str, str], log: Log
) -> Turn:
    role, calls = roles[message[keys[0]]], message.get("tool_calls")
    if message.get("weight") == 0:
        log.fault(row, (*path, "weight"), "Messages of weight 0 are not read in this version.", "Delete the weight.")
    turn: Turn = {"role": role, "content": ""}  # type: ignore[typeddict-item]
    if calls:
        turn["tool_calls"] = calls
    content = message.get(keys[1])
    if keys[1] not in message and not calls:
        _missing(row, message, path, keys[1], log)
    elif content or not calls:
        turn["content"] = _content(row, content, (*path, keys[1]), f"The {role}'s text", log)
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


def _tools(row: Row, log: Log) -> tuple[dict[str, Any], ...]:
    tools = row.value["tools"]
    if tools is None:
        return ()
    if type(tools) is not list or not all(type(tool) is dict for tool in tools):
        wrong_type(row, tools, ("tools",), log, "a list of function descriptions")
        return ()
    return tuple(tools)


def _conversation(
    row: Row, column: str, role_key: str, turns: list[Turn], tools: tuple[dict[str, Any], ...], before: int, log: Log
) -> Example | None:
    """The example, if the turns come in an order that can be trained on. Broken turns have been reported already."""
    if log.total == before:
        _check_order(row, column, role_key, turns, log)
    system = row.value.get("system")
    if system:
        said = _content(row, system, ("system",), "The system text", log)
        if turns and turns[0]["role"] == "system":
            log.fault(row, ("system",), "The row has two system texts: here and in its messages.", "Keep one of them.")
        turns = [{"role": "system", "content": said}, *turns]
    return Example(row.line, tuple(turns), tools) if log.total == before else None


def _check_order(row: Row, column: str, role_key: str, turns: list[Turn], log: Log) -> None:
    """Says the first turn that is out of order; what follows it would only repeat that."""
    previous = ""
    for index, turn in enumerate(turns):
        rule, fix = _ORDER.get((previous, turn["role"]), ("", ""))
        if turn["role"] == "tool" and previous == "assistant" and not turns[index - 1].get("tool_calls"):
            rule, fix = "A tool answers here, but the assistant called none.", "Add tool_calls to the turn before."
        if rule:
            log.fault(row, (column, index, role_key), rule, fix)
            return
        previous = "" if turn["role"] == "system" and not previous else turn["role"]
        if index and turn["role"] == "system":
            log.fault(row, (column, index, role_key), "The system turn must be the first.", "Move it to the start.")
            return
    if turns[-1]["role"] != "assistant":
        rule = f"The last turn is the {turns[-1]['role']}'s; it must be the assistant's, which is what is trained."
        log.fault(row, (column, len(turns) - 1, role_key), rule, "Add the assistant's answer, or delete the last turn.")


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


def _unknown_role(row: Row, role: Any, path: Path, roles: dict[str, str], log: Log) -> None:
    if type(role) is not str:
        wrong_type(row, role, path, log)
        return
    meant = _SLIPS.get(role.lower()) or next(iter(difflib.get_close_matches(role.lower(), list(roles), 1)), None)
    known = ", ".join(roles)
    fix = f'Did you mean "{meant}"?' if meant in roles else "Write one of these."
    log.fault(row, path, f'The role "{role}" is not known; known are {known}.', fix)
