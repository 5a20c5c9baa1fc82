"""Answers that somebody judged: pairs of a better and a worse one, and single ones that are wanted or not.

Knows no files and no methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pumice.data import chats
from pumice.data.cells import wrong_type
from pumice.data.chats import Said, spoken
from pumice.data.openings import called, opening, turns
from pumice.data.rows import Log, Row
from pumice.records import Example, Turn

Read = Callable[[Row, Log], Example | None]

ENDINGS = ("chosen", "rejected")
OPENAI = ("preferred_output", "non_preferred_output")
"""The same in OpenAI's files."""
_JUDGED = {"true": True, "false": False}


def pairs(column: str | None, names: tuple[str, str] = ENDINGS) -> Read:
    """Reads `chosen` and `rejected`, or what `names` calls them, behind what `column` asks.

    `column` is None where both are whole conversations. Each is text, a message or a list of messages, and in the end
    one answer of the assistant's.
    """

    def read(row: Row, log: Log) -> Example | None:
        before = log.total
        asked = opening(row, column, log) if column else []
        functions = called(row, column, log)
        endings = [turns(row, row.value[name], (name,), "assistant", f"The {name} answer", log) for name in names]
        system = chats.system(row, asked or endings[0], log)
        if asked and asked[-1][0]["role"] == "assistant":
            both = " and ".join(f'"{name}"' for name in names)
            rule = f"The conversation ends with an answer already; {both} are the two to choose from."
            log.fault(row, asked[-1][1], rule, "Delete its last turn, or add what the user says next.")
        if log.total != before:
            return None
        chosen, rejected = (_whole(row, *each, asked, log) for each in zip(names, endings, strict=True))
        if log.total == before:
            _compare(row, chosen, rejected, names, log)
        if log.total != before:
            return None
        return Example(row.line, spoken([*system, *chosen]), functions, rejected=spoken([*system, *rejected]))

    return read


def judged(column: str, answer: str | None) -> Read:
    """Reads what `column` asks, the answer to it, and `label`: whether that answer is wanted.

    `answer` is None where the conversation in `column` ends with it.
    """

    def read(row: Row, log: Log) -> Example | None:
        before = log.total
        said = opening(row, column, log)
        functions = called(row, column, log)
        if answer:
            said += turns(row, row.value[answer], (answer,), "assistant", "The answer", log)
        system, wanted = chats.system(row, said, log), _wanted(row, log)
        if log.total == before and chats.check_order(row, said, log):
            chats.check_answered(row, said, log)
        return Example(row.line, spoken([*system, *said]), functions, wanted=wanted) if log.total == before else None

    return read


def _whole(row: Row, name: str, ending: list[Said], asked: list[Said], log: Log) -> list[Said]:
    """The conversation that ends with `ending`, which may be that conversation itself."""
    turn, path = ending[-1]
    last = turn["role"]
    whole = len(ending) > 1 and ending[0][0]["role"] in ("system", "user")
    if last != "assistant":
        rule = f"The {name} answer is the {last}'s; it must be the assistant's, as it is what the model learns from."
        log.fault(row, path, rule, "Write the assistant's answer.")
    elif not asked and not whole:
        rule = f'The row has no "prompt", so "{name}" must be a whole conversation: a list of messages.'
        log.fault(row, (name,), rule, 'Add "prompt", or begin the list with what the user asks.')
    elif asked and whole and spoken(ending[: len(asked)]) != spoken(asked):
        rule = f'The conversation in "{name}" does not begin with what the row asks.'
        log.fault(row, (name,), rule, "Let it begin so, or leave the answer alone in it.")
    return ending if whole else [*asked, *ending]


def _compare(row: Row, chosen: Sequence[Said], rejected: Sequence[Said], names: tuple[str, str], log: Log) -> None:
    """Both must be one conversation, in an order that can be trained on, with two answers at its end."""
    here, there = spoken(chosen[:-1]), spoken(rejected[:-1])
    if here != there:
        both = zip(here, there, strict=False)
        at = next((at for at, (one, other) in enumerate(both) if one != other), min(len(here), len(there)))
        rule = f'"{names[0]}" and "{names[1]}" differ at turn {at + 1} already; only their last turns may.'
        log.fault(row, rejected[at][1], rule, "Let both go through the same conversation up to the answer.")
    elif chats.check_order(row, chosen, log) and _said(chosen[-1][0]) == _said(rejected[-1][0]):
        exact = chosen[-1][0] == rejected[-1][0]
        rule = f"The {names[1]} answer is the {names[0]} one{'' if exact else ' but for white space around it'}."
        log.fault(row, (names[1],), rule, "Write a worse one, or delete the row: nothing tells them apart.")


def _said(turn: Turn) -> tuple[str, object]:
    return turn["content"].strip(), turn.get("tool_calls")


def _wanted(row: Row, log: Log) -> bool | None:
    """The row's label, true or false; a table without booleans has them as words."""
    label = row.value["label"]
    wanted = _JUDGED.get(label.strip().lower()) if type(label) is str else label
    if type(wanted) is bool:
        return wanted
    if type(label) is str:
        fix = "Write true where the answer is wanted and false where it is not; without the column, all are."
        log.fault(row, ("label",), f'The label "{label[:40]}" is neither true nor false.', fix)
    else:
        wrong_type(row, label, ("label",), log, "true or false")
    return None
