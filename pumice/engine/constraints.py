"""What holds an answer to a form, checked before anything is generated. Knows no engine process.

llama.cpp says nothing of a grammar that it cannot compile and answers freely, so the same library is asked first.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from pumice.engine.contract import Capabilities, Constraint
from pumice.errors import InputError

NAMES = {"json_schema": "a JSON schema", "lark": "a grammar"}
_HEAD = "%llguidance {}\n"


def check(constraint: Constraint, capabilities: Capabilities) -> None:
    """Raise InputError, naming the keyword at fault, unless the engine can hold an answer to it."""
    if constraint.kind not in capabilities.constraints:
        raise InputError(
            f"The {capabilities.name} engine cannot hold an answer to {NAMES[constraint.kind]}.",
            "It runs this model because llama.cpp cannot.",
            "Ask for the form in the prompt instead.",
        )
    if constraint.kind == "json_schema":
        _read(constraint.text)
    problem = _problem(grammar(constraint))
    if problem:
        raise InputError(
            f"{NAMES[constraint.kind].capitalize()} cannot be enforced as it is: {problem}",
            "llama.cpp must know of each token whether it may come next; some keywords do not allow that.",
            "Write it with type, properties, required, items, enum, const, anyOf, $ref, limits and plain patterns.",
        )


def grammar(constraint: Constraint) -> str:
    """What llama.cpp is sent."""
    start = f"start: %json {constraint.text}" if constraint.kind == "json_schema" else constraint.text
    return f"{_HEAD}{start}"


def _read(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
        problem = "" if isinstance(schema, dict) else "It is not an object."
    except ValueError as error:
        problem = str(error)
    if problem:
        raise InputError("The JSON schema is no JSON object.", problem, "Write it as JSON Schema, in braces.")
    return dict(schema)


@lru_cache(maxsize=256)
def _problem(text: str) -> str:
    """What the library has against a grammar, in one line, "" for a good one."""
    said = LLMatcher.validate_grammar(text)
    # Behind the message stand the grammar's own lines with a mark under the place; a pattern's stand between.
    lines = [line.strip(" ^") for line in said.splitlines() if " | " not in line]
    joined = " ".join(line for line in lines if line)
    return joined.partition("failed to compile JSON schema: ")[2] or joined
