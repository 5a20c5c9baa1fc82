"""Prompt templates: those that ship with Pumice, a user's files, and versions of them that never change.

Knows no models and no questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pumice.data.render.prompt import Prompt, compile_prompt
from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.store.documents import Documents
from pumice.train.rules import Name

KIND = "prompt-template"
ENDING = ".jinja"
SHIPPED = Path(__file__).parent / "templates"
GIVEN = ("question", "text", "shots")
"""What every template gets: the question under two names, and the exchanges that stand before it."""


@dataclass(frozen=True)
class Shot:
    """One solved example, as templates see it."""

    question: str
    answer: str


@dataclass(frozen=True)
class Template:
    """A template that compiles and names its question."""

    name: str
    """`name@version`, a task for one that ships with Pumice, or a file."""
    text: str
    prompt: Prompt = field(compare=False)
    created: datetime | None = None
    """When the version was added; None for what is no version."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def write(self, question: str, shots: Sequence[Shot], variables: Mapping[str, Any]) -> tuple[str, str]:
        """The turn of the user and the system turn ("" without one). Raises `InputError` with the line at fault."""
        given = {"question": question, "text": question, "shots": [vars(shot) for shot in shots]}
        return self.prompt.render({**variables, **given})

    def check(self, variables: Mapping[str, Any], with_shots: bool) -> None:
        """Raises `InputError` unless it takes these `variables` and writes its question, and shots if there are any."""
        known = sorted(self.prompt.variables)
        for name in variables:
            if name in GIVEN or name not in known:
                others = ", ".join(each for each in known if each not in GIVEN) or "none"
                why = "Pumice fills it in itself." if name in GIVEN else f"Those that it has: {others}."
                raise InputError(
                    f"--var {name}: {self.name} has no such variable to be set.",
                    why,
                    "See what it has: pumice prompts list",
                )
        first, second = Shot("an apple", "red"), Shot("a river", "long")
        if self.write(first.question, (), variables) == self.write(second.question, (), variables):
            raise _forgetful(self.name)
        if with_shots and self.write("x", (first,), variables) == self.write("x", (second,), variables):
            raise InputError(
                f"{self.name} does not write its shots.",
                "Every number of shots would be the same prompt.",
                "Add {% for shot in shots %}{{ shot.question }} {{ shot.answer }}{% endfor %}, or ask with --shots 0.",
            )


def find(word: str, documents: Documents) -> Template:
    """A file that ends in `.jinja`, `name@3`, the newest version of `name`, or the ready one of a task.

    Raises `NotFoundError` with the names nearest to it, `InputError` for what is not Jinja.
    """
    if word.endswith(ENDING):
        return read(Path(word), word)
    if word in shipped_names():
        return read(SHIPPED / f"{word}{ENDING}", word)
    name, at, _ = word.partition("@")
    versions = [each for each in kept(documents) if _bare(each) == name]
    for each in versions:
        if not at or each.name == word:
            return each
    there = f"There is {', '.join(each.name for each in versions)}." if versions else _near(name, documents)
    fix = f"See every one: pumice prompts list. The name of a file ends in {ENDING}."
    raise NotFoundError(f"There is no prompt template {word!r}.", there, fix)


def read(file: Path, name: str) -> Template:
    """The template in a file. Raises `InputError` where there is none that could ask anything."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise InputError(
            f"{file} cannot be read: {error.strerror}.", fix="Name a file with a Jinja template."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8.", "A prompt template is text.", "Save it as UTF-8.") from error
    return parse(text, name)


def parse(text: str, name: str) -> Template:
    """The template that a text is. Raises `InputError` where it could ask nothing."""
    template = Template(name, text, compile_prompt(text, name))
    if template.prompt.variables.isdisjoint(("question", "text")):
        raise _forgetful(name)
    return template


def add(name: str, new: Template, documents: Documents) -> tuple[Template, bool]:
    """Keep it as the next version of `name`, and whether it is new: a text that is kept already keeps its version.

    Raises `InputError` for a name that cannot be used.
    """
    _check_name(name)
    while True:
        versions = [each for each in kept(documents) if _bare(each) == name]
        if same := [each for each in versions if each.text == new.text]:
            return same[0], False
        number = 1 + max(map(_number, versions), default=0)
        try:
            documents.add(KIND, f"{name}@{number}", {"text": new.text, "sha256": new.sha256})
        except ConflictError:
            # Another process took the number meanwhile.
            continue
        return find(f"{name}@{number}", documents), True


def kept(documents: Documents) -> tuple[Template, ...]:
    """Every version that was added, by name, the newest first."""
    found = [
        Template(each.name, each.body["text"], compile_prompt(each.body["text"], each.name), each.created)
        for each in documents.list(KIND)
    ]
    return tuple(sorted(found, key=lambda each: (_bare(each), -_number(each))))


def shipped() -> Iterator[Template]:
    """The ready templates, by name."""
    for name in shipped_names():
        yield read(SHIPPED / f"{name}{ENDING}", name)


def shipped_names() -> list[str]:
    """The tasks with a ready template."""
    return sorted(path.stem for path in SHIPPED.glob(f"*{ENDING}"))


def _check_name(name: str) -> None:
    if name in shipped_names():
        raise ConflictError(f"{name} is the name of a template that ships with Pumice.", fix="Choose another name.")
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        rule = "letters, digits, dots, dashes and underscores, 63 at most, a letter or digit first"
        raise InputError(f"{name!r} cannot be a template's name.", f"It must be {rule}.") from error
    if name.endswith(ENDING):
        raise InputError(f"{name!r} cannot be a template's name.", f"What ends in {ENDING} is taken for a file.")


def _forgetful(name: str) -> InputError:
    return InputError(
        f"{name} does not write its question.",
        "Every question would be the same prompt.",
        "Write {{ question }} or {{ text }} where it belongs.",
    )


def _near(name: str, documents: Documents) -> str:
    """What to say beside "there is no such template"."""
    near = get_close_matches(name, {*shipped_names(), *map(_bare, kept(documents))}, cutoff=0.4)
    return f"Near to it: {', '.join(near)}." if near else ""


def _bare(template: Template) -> str:
    return template.name.rpartition("@")[0]


def _number(template: Template) -> int:
    return int(template.name.rpartition("@")[2])
