"""Values are held to their schema by the standard, nothing is fetched, and no schema stops the server."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pumice.engine import schemas
from pumice.errors import InputError


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        ({"type": "integer"}, 3, ""),
        ({"type": "integer"}, "3", "\\$: '3' is not of type 'integer'"),
        ({"properties": {"a": {"enum": ["漢"]}}}, {"a": "字"}, r"\$\.a: '字' is not one of"),
        ({"pattern": r"^\p{L}+$"}, "école", ""),
        ({"pattern": r"^\p{L}+$"}, "3", "does not match"),
        ({"pattern": "("}, "3", "cannot be checked"),
        ({"pattern": "^(a|a)*$"}, "a" * 60 + "b", "cannot be checked"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, 3, "cannot be applied"),
        ({"$ref": "#"}, 3, "cannot be applied"),
    ],
)
def test_what_is_not_allowed_is_named(schema: dict[str, Any], value: Any, reason: str) -> None:
    found = schemas.problem(value, schema)
    assert re.search(reason, found) if reason else found == ""


def test_what_is_no_schema_is_named_with_its_place() -> None:
    with pytest.raises(InputError, match="The form is no JSON schema: 'text' is not valid") as caught:
        schemas.check({"properties": {"a": {"type": "text"}}}, "The form")
    assert "properties.a.type" in caught.value.why
