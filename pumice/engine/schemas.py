"""Whether JSON follows a schema, by the standard's own library. Knows no engine: grammars are checked by it too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import regex
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from pumice.errors import InputError

_PATIENCE = 1.0
"""Seconds that one pattern may take: some take for ever on some texts."""


def check(schema: dict[str, Any], title: str) -> None:
    """Raise InputError, naming the place, unless `schema` is a JSON schema. `title` begins the sentence."""
    try:
        validator_for(schema, Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "the top"
        raise InputError(
            f"{title} is no JSON schema: {error.message}", f"It is at {place}.", "Write it as JSON Schema 2020-12."
        ) from error


def problem(value: Any, schema: dict[str, Any]) -> str:
    """What in `value` the schema does not allow, in one line; "" when all is well. `schema` has passed `check`."""
    # An empty registry: nothing is ever fetched from where a $ref points.
    kind = extend(validator_for(schema, Draft202012Validator), {"pattern": _matches})  # type: ignore[no-untyped-call]
    try:
        error = best_match(kind(schema, registry=Registry()).iter_errors(value))
    except (Unresolvable, RecursionError, re.error) as error:
        return f"The schema cannot be applied: {error}"
    return "" if error is None else f"{error.json_path}: {error.message}"


def _matches(_: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    """Unlike the standard library, llama.cpp's grammars know classes such as `\\p{L}`, and so does `regex`."""
    if not isinstance(value, str):
        return
    try:
        found = regex.search(pattern, value, timeout=_PATIENCE)
    except (regex.error, TimeoutError) as error:
        yield ValidationError(f"{pattern!r} cannot be checked: {error}")
        return
    if not found:
        yield ValidationError(f"{value!r} does not match {pattern!r}")
