"""Turns what pydantic found into sentences that name the key, the value and the rule. Knows a file by its places."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pumice.train.rules import keys_of, rule_of
from pumice.train.yamlfile import Places


def mistakes(error: ValidationError, model: type[BaseModel], values: Mapping[str, Any], places: Places) -> list[str]:
    """One line a key at fault, in the order of the file."""
    found: dict[tuple[str, ...], str] = {}
    for detail in error.errors(include_url=False):
        keys, owner = _keys(detail["loc"], model)
        dotted = ".".join(keys)
        match detail["type"]:
            case "extra_forbidden":
                found[keys] = f"{places.at_key(keys)}{dotted} is no key of a recipe{_nearest(keys[-1], owner)}"
            case "missing":
                found[keys] = (
                    f"{places.at_key(keys)}{dotted} is missing; it must be {rule_of(keys_of(owner)[keys[-1]])}."
                )
            case _:
                shown = json.dumps(_value(values, keys), ensure_ascii=False, default=str)
                rule = rule_of(keys_of(owner)[keys[-1]])
                found[keys] = f"{places.at_value(keys)}{dotted} = {shown}; it must be {rule}."
    return [found[keys] for keys in in_order(found, places)]


def in_order(found: Mapping[tuple[str, ...], str], places: Places) -> Sequence[tuple[str, ...]]:
    """Keys as they come in the file."""
    return sorted(found, key=lambda keys: places.keys.get(keys, (0, 0)))


def _keys(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[tuple[str, ...], type[BaseModel]]:
    """The keys that lead to the fault and the model that owns the last; what pydantic adds for unions is left out."""
    top = str(loc[0])
    table = _table(model, top)
    if table is None or len(loc) == 1:
        return (top,), model
    return (top, str(loc[1])), table


def _table(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    if key not in keys_of(model):
        return None
    for part in get_args(keys_of(model)[key].annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _nearest(key: str, owner: type[BaseModel]) -> str:
    known = list(keys_of(owner))
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        return f"; did you mean {near[0]}?"
    return f"; it has {', '.join(known)}." if known else "."


def _value(values: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = values
    for key in keys:
        value = value[key]
    return value
