"""What a model is asked while it learns from its own answers. Knows no scorers, which get the row's other columns."""

from __future__ import annotations

from pumice.data import chats
from pumice.data.openings import opening
from pumice.data.rows import Log, Row
from pumice.records import Example

_READ = ("prompt", "system", "tools")


def read_prompt(row: Row, log: Log) -> Example | None:
    """`prompt`, which is text or a list of messages; all other columns are facts."""
    before = log.total
    asked = opening(row, "prompt", log)
    system, tools = chats.system(row, asked, log), chats.tools(row, log)
    if log.total == before and chats.check_order(row, asked, log):
        turn, path = asked[-1]
        if turn["role"] not in ("user", "tool"):
            rule = f"The last turn is the {turn['role']}'s; a prompt ends where the assistant is to answer."
            log.fault(row, path, rule, "Delete that turn, or add what the user says next.")
    if log.total != before:
        return None
    facts = {name: value for name, value in row.value.items() if name not in _READ}
    return Example(row.line, chats.spoken([*system, *asked]), tools, facts=facts)
