"""Tells whose file it is, reads it, and makes a recipe that holds. Knows no trainer's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import InputError
from pumice.train.foreign import axolotl, llamafactory
from pumice.train.foreign.dialect import Reading, number
from pumice.train.recipe import Recipe, make_recipe
from pumice.train.yamlfile import read_yaml


@dataclass(frozen=True)
class Imported:
    """A recipe that was made of another trainer's file."""

    trainer: str
    recipe: Recipe
    left_out: Mapping[str, str]
    """Keys that have no equal here, each with the reason."""
    notes: tuple[str, ...]
    """What was taken over and should be looked at."""


DIALECTS = (llamafactory, axolotl)


def import_recipe(path: Path) -> Imported:
    """A LLaMA-Factory or Axolotl YAML as a recipe. Raises `InputError` for another file and for what has no equal."""
    values, _ = read_yaml(path, str(path))
    found = max(DIALECTS, key=lambda dialect: len(dialect.MARKS & values.keys()))
    if not found.MARKS & values.keys():
        raise InputError(
            f"{path} is neither LLaMA-Factory's nor Axolotl's.",
            "Theirs name a model as model_name_or_path or base_model.",
            "A recipe of Pumice needs no import: pumice run FILE",
        )
    reading = Reading({key: number(value) for key, value in values.items()}, path.expanduser().resolve().parent)
    found.read(reading)
    recipe = make_recipe({key: _whole(value) for key, value in reading.recipe.items()})
    return Imported(found.NAME, recipe, reading.left_out, tuple(reading.notes))


def _whole(value: object) -> object:
    """Counts that were written as 4.0."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and value >= 1 else value
