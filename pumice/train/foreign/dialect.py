"""How another trainer's file is read key by key: what is taken is ticked off, what remains is told. Knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumice.errors import InputError
from pumice.train.rules import path_of

PATH_HERE = "there is no equal key; Pumice decides it by itself"


@dataclass
class Reading:
    """A foreign table while it is read, and the recipe that comes of it."""

    given: Mapping[str, Any]
    folder: Path
    """Where the file lies: its paths start there, or where its trainer was started."""
    recipe: dict[str, Any] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why a key was left out, by key."""
    notes: list[str] = field(default_factory=list)
    """What was taken over and should be looked at."""

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, which counts as taken over."""
        self.taken.add(key)
        value = self.given.get(key)
        return default if value is None else value

    def word(self, key: str, default: str = "") -> str:
        """The text of a key, which counts as taken over. Raises `InputError` for a list or a table."""
        value = self.take(key, default)
        if isinstance(value, list | dict):
            raise InputError(
                f"{key}: {value} cannot be read.", "It is one word.", f"Write {key}: and a word behind it."
            )
        return str(value)

    def rename(self, names: Mapping[str, str]) -> None:
        """Take keys over that mean the same under another name."""
        for theirs, ours in names.items():
            if (value := self.take(theirs)) is not None:
                self.put(ours, value)

    def put(self, key: str, value: Any) -> None:
        """Set a key of the recipe, `lora.r` in the table `lora`."""
        *tables, last = key.split(".")
        place = self.recipe
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value

    def refine(self, kind: str, flags: Mapping[str, str]) -> str:
        """`lora` as the kind of it whose flag is on: the first, for a model has one kind; the others are left out."""
        on = {key: name for key, name in flags.items() if self.take(key)}
        chosen = next(iter(on.values()), kind) if kind == "lora" else kind
        for key, name in on.items():
            if name != chosen:
                self.left_out[key] = f"{chosen} is trained, and {name} is another method"
        return chosen

    def finish(self, ignored: Mapping[str, str]) -> None:
        """Every key that nobody asked for is left out: for the reason given here, or because it has no equal."""
        for key in self.given:
            if key not in self.taken:
                self.left_out[key] = ignored.get(key, PATH_HERE)


def number(value: Any) -> Any:
    """A number that YAML 1.2 reads as text because it lacks a dot, as `1e-4`; anything else as it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def beside(word: str, folder: Path) -> str:
    """A path of the file as an absolute one."""
    return str((folder / path_of(word)).resolve())
