"""What holds an answer to a form, checked before anything is generated. Knows no engine process.

llama.cpp says nothing of a grammar that it cannot compile and answers freely, so the same library is asked first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from pumice.engine import schemas, vocabulary
from pumice.engine.contract import Capabilities, Constraint
from pumice.errors import InputError

NAMES = {"json_schema": "a JSON schema", "lark": "a grammar"}
TIGHT = {"x-guidance": {"whitespace_flexible": False}}
"""One way to put spaces: a small model would otherwise fill its limit with line breaks."""
_HEAD = "%llguidance {}\n"


def check(constraint: Constraint, capabilities: Capabilities) -> None:
    """Raise InputError, naming the keyword at fault, unless the engine can hold an answer to it."""
    if constraint.kind not in capabilities.constraints:
        if constraint.loose:
            return
        raise InputError(
            f"The {capabilities.name} engine cannot hold an answer to {NAMES[constraint.kind]}.",
            "It runs this model because llama.cpp cannot.",
            "Ask for the form in the prompt instead; of tools, leave it to the model whether it calls one (auto).",
        )
    if constraint.kind == "json_schema":
        _read(constraint.text)
    try:
        problem = _problem(grammar(constraint))
    except UnicodeEncodeError as error:
        problem = f"it holds half a character, {error.object[error.start]!r}."
    if problem:
        raise InputError(
            f"{NAMES[constraint.kind].capitalize()} cannot be enforced as it is: {problem}",
            "llama.cpp must know of each token whether it may come next; some keywords do not allow that.",
            "Write it with type, properties, required, items, enum, const, anyOf, $ref, limits and plain patterns.",
        )


def beyond_ascii(constraint: Constraint) -> bool:
    """Whether `spelled` could change anything."""
    return not constraint.text.isascii() or "\\u" in constraint.text


def spelled(constraint: Constraint, whole: frozenset[str]) -> Constraint:
    """The constraint in the letters of a `streamable` file, whose tokens have the characters `whole` in one piece.

    llama.cpp gives up a grammar in mid-answer where no token can go on. Raises InputError for a pattern that would
    lead there: unlike a literal, it cannot be spelled byte by byte.
    """
    text = constraint.text
    if constraint.kind == "json_schema":
        text = json.dumps(json.loads(text), ensure_ascii=False)
    for schema in _schemas(replace(constraint, text=text)):
        for pattern in _patterns(schema):
            missing = next((each for each in pattern if not each.isascii() and each not in whole), None)
            if missing:
                raise InputError(
                    f"The pattern {pattern!r} cannot be enforced: this base has no token for {missing!r}.",
                    "It writes that character in parts, which a pattern does not see.",
                    "List the values with enum, which may hold any character, or leave the pattern out.",
                )
    return replace(constraint, text=vocabulary.spelled(text, whole))


def _schemas(constraint: Constraint) -> Iterator[Any]:
    """Every JSON schema in it."""
    if constraint.kind == "json_schema":
        yield json.loads(constraint.text)
        return
    mark, end = "%json ", 0
    while (at := constraint.text.find(mark, end)) >= 0:
        schema, end = json.JSONDecoder().raw_decode(constraint.text, at + len(mark))
        yield schema


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        yield from schema.get("patternProperties") or ()
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _patterns(inner)


def grammar(constraint: Constraint) -> str:
    """What llama.cpp is sent."""
    if constraint.kind != "json_schema":
        return f"{_HEAD}{constraint.text}"
    return f"{_HEAD}start: %json {json.dumps(json.loads(constraint.text) | TIGHT, ensure_ascii=False)}"


def _read(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
        problem = "" if isinstance(schema, dict) else "It is not an object."
    except ValueError as error:
        problem = str(error)
    if problem:
        raise InputError("The JSON schema is no JSON object.", problem, "Write it as JSON Schema, in braces.")
    schemas.check(schema, "The JSON schema")
    return dict(schema)


@lru_cache(maxsize=256)
def _problem(text: str) -> str:
    """What the library has against a grammar, in one line, "" for a good one."""
    said = LLMatcher.validate_grammar(text)
    # Behind the message stand the grammar's own lines with a mark under the place; a pattern's stand between.
    lines = [line.strip(" ^") for line in said.splitlines() if " | " not in line]
    joined = " ".join(line for line in lines if line)
    return joined.partition("failed to compile JSON schema: ")[2] or joined
