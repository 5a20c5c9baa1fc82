"""What a value in a recipe must be, said once: pydantic checks it, the error and the docs read it. Knows no keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Rule:
    """The end of the sentence "it must be …"."""

    text: str


Count = Annotated[int, Field(ge=1), Rule("a whole number, 1 or more")]
Whole = Annotated[int, Field(ge=0), Rule("a whole number, 0 or more")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False), Rule("a number above 0")]
Fraction = Annotated[float, Field(ge=0, lt=1), Rule("a number from 0 to below 1")]
Text = Annotated[str, Field(min_length=1), Rule("text")]
Switch = Annotated[bool, Rule("true or false")]
Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"),
    Rule("letters, digits, dots, dashes and underscores, 63 at most, a letter or digit first"),
]


def placed(word: str, find: Callable[[str], str]) -> str:
    """A word for a model, where `find` says if it is a path: it begins with `.` or `~`, or ends with `.gguf`."""
    return find(word) if word.startswith((".", "~")) or word.endswith(".gguf") else word


def path_of(word: str) -> Path:
    """A word as a path; `~/` is the user's own folder, and any other `~` part of a name."""
    return Path(word).expanduser() if word.startswith("~/") else Path(word)


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the name that a user writes."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def rule_of(field: FieldInfo) -> str:
    """The end of the sentence "it must be …" for one key; "a table" for a method's own."""
    for found in field.metadata:
        if isinstance(found, Rule):
            return found.text
    return _in(field.annotation) or "a table"


def _in(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(annotation))
    for part in get_args(annotation):
        if isinstance(part, Rule):
            return part.text
        if text := _in(part):
            return text
    return ""
