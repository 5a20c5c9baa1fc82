"""Calls of functions in answers: the grammar that makes them valid, and reading them while they come.

Knows neither chat templates nor what a function does; its form is that of `data.render.tools`.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pumice.data.render.tools import CALL, END
from pumice.engine import schemas
from pumice.engine.constraints import TIGHT
from pumice.engine.contract import Constraint
from pumice.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COMPOSED = frozenset({"allOf", "anyOf", "oneOf", "$ref", "if", "patternProperties", "unevaluatedProperties"})
"""Where one of these stands, other parts of the schema may name properties too."""


@dataclass(frozen=True)
class Tool:
    """A function that a model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"A tool cannot be called {self.name!r}.", "A name is 1 to 64 letters, digits, underscores and dashes."
            )
        if self.parameters.get("type", "object") != "object":
            raise InputError(
                f"The parameters of the tool {self.name} are of type {self.parameters['type']!r}.",
                "Arguments have names, so their schema is that of an object.",
                'Write {"type": "object", "properties": {…}}.',
            )
        schemas.check(self._schema(), f"The parameters of the tool {self.name}")

    def shown(self) -> dict[str, Any]:
        """As chat templates read it: an item of `Renderer.prompt`'s `tools`."""
        function = {"name": self.name, "description": self.description, "parameters": self._schema()}
        return {"type": "function", "function": function}

    def rule(self) -> str:
        """The grammar of one call."""
        schema = json.dumps(closed(self._schema()) | TIGHT, ensure_ascii=False)
        begin = json.dumps(f'\n{{"name": "{self.name}", "arguments": ')
        end = json.dumps("}\n" + END)
        return f"{begin} %json {schema} {end}"

    def problem(self, arguments: Any) -> str:
        """What in the arguments of a call is not allowed, "" when all is well."""
        return schemas.problem(arguments, self._schema())

    def _schema(self) -> dict[str, Any]:
        return {"type": "object", **self.parameters}


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with nothing left open: an object that lists its properties has these and no others.

    What fits it fits `schema` too. A small model would otherwise invent names until its answer is cut off.
    """
    found = dict(schema)
    if "properties" in found and not _COMPOSED & found.keys():
        found["properties"] = {name: _closed(each) for name, each in found["properties"].items()}
        found.setdefault("additionalProperties", False)
    if "items" in found:
        found["items"] = _closed(found["items"])
    return found


def _closed(schema: Any) -> Any:
    return closed(schema) if isinstance(schema, dict) else schema


@dataclass(frozen=True)
class Choice:
    """Whether calls are up to the model, or `required`, or one of the tool `name`; whether there may be several."""

    required: bool = False
    name: str | None = None
    parallel: bool = True


def constrain(tools: Sequence[Tool], choice: Choice) -> Constraint:
    """The form of an answer in which every call is of one of `tools` with arguments that its schema allows.

    An engine that cannot hold answers to a form answers freely where calls are up to the model; `Caller` checks them.
    Raises InputError for two tools of one name, for a choice of none of them, and for no tools at all.
    """
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice or not tools:
        raise InputError(f"There are two tools called {twice}." if twice else "There are no tools to choose from.")
    if choice.name is not None and choice.name not in names:
        raise InputError(f"There is no tool {choice.name!r} to choose.", f"The tools are {', '.join(names)}.")
    usable = [tool for tool in tools if choice.name in (None, tool.name)]
    rules = "\n".join(f"call_{at}: {tool.rule()}" for at, tool in enumerate(usable))
    any_call = " | ".join(f"call_{at}" for at in range(len(usable)))
    mark = json.dumps(CALL)
    more = f'("\\n" {mark} any_call)*' if choice.parallel and choice.name is None else ""
    must = choice.required or choice.name is not None
    if must:
        head = f"start: {mark} any_call {more}"
    else:
        # Lazy: the text ends where the mark begins, so text can never hold one that no call follows.
        head = f"start: TEXT | said any_call {more}\nsaid[lazy]: TEXT {mark}\nTEXT: /(.|\\n)*/"
    return Constraint("lark", f"{head}\nany_call: {any_call}\n{rules}\n", loose=not must)


@dataclass(frozen=True)
class Call:
    """A complete call. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Said:
    """What became certain: text to show, and calls that are complete."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    unfinished: str = ""
    """At the end only: a call that was cut off, or that is none, as far as it came. Never to be acted on."""


class Caller:
    """Reads one answer's pieces of text as they come and never shows any of a call as text.

    A call is one only if it is of one of `tools` with arguments that its schema allows, whatever engine wrote it.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self.calls = 0
        """Complete calls so far."""
        self._open = ""
        self._broken: list[str] = []

    def push(self, text: str) -> Said:
        """What is certain after this piece."""
        self._open += text
        shown: list[str] = []
        calls: list[Call] = []
        while True:
            before, mark, behind = self._open.partition(CALL)
            if not mark:
                break
            shown.append(before.rstrip())
            found = _first_json(behind)
            if found is None:
                self._open = mark + behind
                return Said("".join(shown), tuple(calls))
            body, self._open = found
            self._read(body, calls)
        safe = self._safe()
        shown.append(self._open[:safe])
        self._open = self._open[safe:]
        return Said("".join(shown), tuple(calls))

    def flush(self, cut: bool) -> Said:
        """The rest. `cut`: the answer ended at its token limit and not by itself."""
        rest, self._open = self._open, ""
        begun = rest.lstrip()
        # At the limit the beginning of a mark was meant as one; an answer that ended by itself meant what it says.
        if begun.startswith(CALL) or (cut and begun and CALL.startswith(begun)):
            self._broken.append(begun)
            rest = ""
        return Said("" if self.calls and not rest.strip() else rest, (), "\n".join(self._broken))

    def _safe(self) -> int:
        """How much of what is open is text for certain: not white space before a mark, nor a mark's beginning."""
        at = self._open.rfind("<")
        end = at if at >= 0 and CALL.startswith(self._open[at:]) else len(self._open)
        return len(self._open[:end].rstrip())

    def _read(self, body: str, calls: list[Call]) -> None:
        try:
            said = json.loads(body)
            name, arguments = said["name"], said["arguments"]
            valid = not self._tools[name].problem(arguments)
        except (KeyError, TypeError):
            # Only where nothing held the answer to a grammar.
            valid = False
        if not valid:
            self._broken.append(f"{CALL}{body}{END}")
            return
        self.calls += 1
        calls.append(Call(f"call_{uuid.uuid4().hex[:24]}", name, json.dumps(arguments, ensure_ascii=False)))


def _first_json(text: str) -> tuple[str, str] | None:
    """What stands before the mark that ends a call, and what behind; the mark may stand in a string of the call too."""
    at = text.find(END)
    while at >= 0:
        try:
            json.loads(text[:at])
        except ValueError:
            at = text.find(END, at + 1)
        else:
            return text[:at], text[at + len(END) :]
    return None
