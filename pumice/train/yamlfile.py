"""A YAML file as plain values, with the line and column of each. Knows no recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt
from ruamel.yaml.scalarstring import ScalarString

from pumice.errors import InputError, NotFoundError
from pumice.store.files import fix_missing


@dataclass(frozen=True)
class Places:
    """Where each key and value lies: `(line, column)`, 1-based, by the keys that lead there."""

    path: str = ""
    keys: Mapping[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)
    values: Mapping[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)

    def at_value(self, keys: tuple[str, ...]) -> str:
        """`file:line:column: ` of a value; the file's start for one that is missing, "" without a file."""
        return self._show(self.values.get(keys, (1, 1)))

    def at_key(self, keys: tuple[str, ...]) -> str:
        """`file:line:column: ` of a key."""
        return self._show(self.keys.get(keys, (1, 1)))

    def _show(self, place: tuple[int, int]) -> str:
        return f"{self.path}:{place[0]}:{place[1]}: " if self.path else ""


def read_yaml(path: Path, name: str) -> tuple[dict[str, Any], Places]:
    """The top table of a YAML file. Raises `NotFoundError`, or `InputError` for anything that is not such a table.

    `name` is the user's word for the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError(f"{name} does not exist.", fix=fix_missing(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read: {error}.", fix="A recipe is a YAML file in UTF-8.") from error
    try:
        tree = YAML().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        # ruamel adds advice for programmers after the first sentence.
        problem = str(error.problem).split("\n")[0]
        raise InputError(f"{place}: this is no YAML: {problem}.", fix="Write one `key: value` a line.") from None
    except YAMLError as error:
        raise InputError(f"{name} is no YAML: {error}.", fix="Write one `key: value` a line.") from None
    if not isinstance(tree, CommentedMap):
        raise InputError(
            f"{name}:1:1: a recipe is a table of keys.", fix="Write one `key: value` a line, such as `data: faq.jsonl`."
        )
    keys: dict[tuple[str, ...], tuple[int, int]] = {}
    values: dict[tuple[str, ...], tuple[int, int]] = {}
    _places(tree, (), keys, values)
    return {str(key): _plain(value) for key, value in tree.items()}, Places(name, keys, values)


def _places(
    tree: CommentedMap,
    above: tuple[str, ...],
    keys: dict[tuple[str, ...], tuple[int, int]],
    values: dict[tuple[str, ...], tuple[int, int]],
) -> None:
    for key, value in tree.items():
        here = (*above, str(key))
        line, column = tree.lc.key(key)
        keys[here] = (line + 1, column + 1)
        line, column = tree.lc.value(key)
        values[here] = (line + 1, column + 1)
        if isinstance(value, CommentedMap):
            _places(value, here, keys, values)


def _plain(value: Any) -> Any:
    """ruamel's annotated types as Python's own."""
    match value:
        case CommentedMap():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case CommentedSeq():
            return [_plain(inner) for inner in value]
        case ScalarBoolean():
            return bool(value)
        case ScalarFloat():
            return float(value)
        case ScalarInt():
            return int(value)
        case ScalarString():
            return str(value)
    return value
