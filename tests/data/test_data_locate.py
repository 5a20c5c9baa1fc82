"""The place that is reported for a value is where the value stands."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pumice.data import locate

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(value=values, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_the_text_at_the_reported_place_is_the_value(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    lines = text.split("\n")
    for path, part in _parts(value, ()):
        line, column = locate.position(text.encode(), locate.find(text.encode(), path))
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(rest)[0] == part


def _parts(value: Any, path: locate.Path) -> list[tuple[locate.Path, Any]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [(path, value)] + [each for step, part in inner for each in _parts(part, (*path, step))]


def test_the_last_of_equal_keys_counts_as_it_does_when_read() -> None:
    raw = b'{"a": 1, "b": {"a": 7}, "a" : 2}'
    offset = locate.find(raw, ("a",))
    assert orjson.loads(raw)["a"] == int(raw[offset : offset + 1]) == 2
    assert raw[locate.find(raw, ("a",), key=True) :].startswith(b'"a" : 2')


def test_a_path_that_leads_nowhere_means_what_holds_it() -> None:
    raw = b'{"a": [{"b": 1}]}'
    assert raw[locate.find(raw, ("a", 0, "c")) :].startswith(b'{"b"')
    assert raw[locate.find(raw, ("a", 5, "c")) :].startswith(b"[{")


def test_paths_are_shown_as_users_write_them() -> None:
    assert locate.name(("messages", 2, "role")) == "messages[2].role"
