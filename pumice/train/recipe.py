"""A recipe: what to train, on what, and how; read strictly, and filled in with defaults that say why.

Knows no model weights and no data rows, only their sizes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pumice.bases.resolve import DEFAULT
from pumice.errors import InputError
from pumice.records import Base
from pumice.store.files import write_atomic
from pumice.store.s3 import is_uri
from pumice.train import defaults
from pumice.train.methods import METHODS, Method, Objective, Tables, Weights, field
from pumice.train.mistakes import mistakes
from pumice.train.rules import Count, Name, Rate, Rule, Switch, Text, Whole, path_of, placed
from pumice.train.yamlfile import Places, read_yaml

NOWHERE = Places()


def _known(name: str) -> str:
    if name not in METHODS:
        raise ValueError(name)
    return name


MethodName = Annotated[str, AfterValidator(_known), Rule("one of " + ", ".join(METHODS))]


PATHS = ("data", "validation")
"""Keys that name files."""


class Source(Tables):
    """What a run starts from, what it reads, and what it makes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, serialize_by_alias=True
    )

    model: Text = DEFAULT
    """What to start from: a base of the catalogue, a Hugging Face id, a folder, a GGUF file or a registered model."""
    name: Name | None = None
    """Name of the trained model. By default the name of the data file."""
    data: Text
    """The file to train on. Relative to the recipe."""
    validation: Text | None = None
    """A file with questions for the comparison. By default rows of `data` are held out, from 200 rows on."""


class Recipe(Source):
    """One training run. A key that is None is filled in by `resolve_recipe`."""

    method: MethodName = "lora"
    """What is trained, and what it learns from: `pumice methods` lists them."""
    start: Literal["continue", "merge"] | None = None
    """With a registered adapter as `model`: train that adapter on (`continue`, the default), or `merge` it first."""
    epochs: Rate | None = None
    """How often each row is seen."""
    learning_rate: Rate | None = None
    """Size of the largest step; the steps shrink from it to 0 in a straight line."""
    learning_rate_multiplier: Rate | None = None
    """Instead of `learning_rate`: how many times its default."""
    warmup_steps: Whole = 0
    """Steps over which the step size first grows from 0 to `learning_rate`."""
    batch_size: Count | None = None
    """Rows in memory at once."""
    gradient_accumulation: Count | None = None
    """Batches before the weights change once."""
    max_length: Count | None = None
    """Longest row in tokens. By default the model's window."""
    packing: Switch = True
    """Lay the rows of a batch end to end instead of padding them. Changes speed, never the result."""
    fast: Switch = True
    """On a CPU, steps in Pumice's own pieces; `false` leaves them to the libraries. Changes speed, never the result."""
    seed: Whole = 0
    """Of the order of the rows and of the first random weights."""
    too_long: Literal["error", "drop", "truncate", "split"] | None = None
    """What to do with a row of more than `max_length` tokens. By default `split` for text, else `error`."""
    save_steps: Count | None = None
    """Steps between checkpoints. By default one every 30 seconds, as long as saving takes little time."""

    @property
    def knobs(self) -> Method:
        """The table of the chosen method, with its defaults."""
        return self._table(self.method)

    @property
    def way(self) -> str:
        """Which weights are trained: the method itself, or those that its objective names."""
        knobs = self.knobs
        return knobs.weights if isinstance(knobs, Objective) else self.method

    @property
    def weights(self) -> Weights:
        """The table of the trained weights, with its defaults."""
        table = self._table(self.way)
        assert isinstance(table, Weights)
        return table

    @property
    def makes_adapter(self) -> bool:
        """Whether the result is a small file over its base; else it is a whole model."""
        return self.weights.adapter and not self.knobs.classifier

    def _table(self, name: str) -> Method:
        table: Method | None = dict(self)[field(name)]
        return (table or METHODS[name]()).resolved()

    @classmethod
    def from_data(cls, data: str | Path, **overrides: Any) -> Recipe:
        """The recipe of a data file alone, with a few keys set. Raises `InputError`."""
        return _located(make_recipe({"data": _here(str(data)), **overrides}), _here)


class Resolved(NamedTuple):
    """A recipe without gaps, and why each gap was filled as it was, by key."""

    recipe: Recipe
    reasons: dict[str, str]


def make_recipe(values: Mapping[str, Any], places: Places = NOWHERE) -> Recipe:
    """A recipe from plain values. Raises `InputError` with every mistake, each at its place in the file."""
    found = _strangers(values, places)
    if values.get("learning_rate") is not None and values.get("learning_rate_multiplier") is not None:
        place = places.at_key(("learning_rate_multiplier",))
        found.append(f"{place}learning_rate_multiplier is for the default rate; learning_rate is set here.")
    method = values.get("method")
    if method == "pretrain":
        rule = "method: pretrain makes a new model and starts from none; leave it out."
        named = [key for key in ("model", "start") if values.get(key) not in (None, DEFAULT)]
        found += [f"{places.at_key((key,))}{key} is {values[key]}; {rule}" for key in named]
    if isinstance(method, str) and method in METHODS and values.get(method) is None and _must_be_told(METHODS[method]):
        values = {**values, method: {}}
    try:
        recipe = Recipe.model_validate(dict(values))
    except ValidationError as error:
        found = [*mistakes(error, Recipe, values, places), *found]
    if not found:
        return recipe
    noun = "mistake" if len(found) == 1 else "mistakes"
    raise InputError(
        f"{places.path or 'The recipe'} has {len(found)} {noun}; nothing was started.",
        "\n".join(found),
        "Every key is explained in docs/training.md.",
    )


def _strangers(values: Mapping[str, Any], places: Places) -> list[str]:
    """Tables that neither the method nor the weights of its objective have."""
    method = values.get("method", "lora")
    own = values.get(method) if isinstance(method, str) else None
    weights = own.get("weights", "lora") if isinstance(own, Mapping) else "lora"
    if not isinstance(weights, str) or not isinstance(method, str) or method not in METHODS:
        return []
    allowed = {method, weights} if issubclass(METHODS[method], Objective) else {method}
    return [
        f"{places.at_key((table,))}{table} is the table of method: {table}; the method here is {method}"
        + (f" with weights: {', '.join(allowed - {method})}." if len(allowed) > 1 else ".")
        for table in METHODS
        if table not in allowed and values.get(table) is not None
    ]


def _must_be_told(method: type[Method]) -> bool:
    """Whether a knob of the method has no default."""
    return any(knob.is_required() for knob in method.model_fields.values())


def read_recipe(path: Path, uri: str | None = None) -> Recipe:
    """Read a YAML recipe; relative paths in it become absolute. Raises `InputError` or `NotFoundError`.

    Those in a recipe that lies in S3, at `uri`, become addresses there.
    """
    values, places = read_yaml(path, uri or str(path))
    recipe = make_recipe(values, places)
    if uri and recipe.knobs.runs_code:
        raise InputError(
            f"{uri} names a program of its own, and a recipe in S3 may not.",
            "Whoever may write to the bucket could run anything here.",
            "Copy the recipe to this machine, read it, and run it from there.",
        )
    folder = path.expanduser().resolve().parent
    named = {key: value for key, value in dict(recipe).items() if value and key in PATHS}
    paths = {key: _beside(value, folder, uri) for key, value in named.items()}
    return _located(recipe.model_copy(update=paths), lambda word: _beside(word, folder, uri))


def _located(recipe: Recipe, find: Callable[[str], str]) -> Recipe:
    """The recipe with its model, and the files and models that its method's table names, where `find` says."""
    table: Method | None = dict(recipe)[field(recipe.method)]
    tables = {field(recipe.method): table.located(find)} if table else {}
    return recipe.model_copy(update={"model": placed(recipe.model, find), **tables})


def _here(word: str) -> str:
    """A word on the command line for a file, from anywhere; an address in S3 is one already."""
    return word if is_uri(word) else str(path_of(word).resolve())


def _beside(word: str, folder: Path, uri: str | None) -> str:
    """What a word means in a recipe that lies in `folder`, and perhaps at `uri` in S3."""
    if is_uri(word):
        return word
    if uri and not path_of(word).is_absolute():
        return f"{uri.rpartition('/')[0]}/{word}"
    return str(folder / path_of(word))


def change(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """The recipe with keys set as on a command line: `epochs` to `3`, `lora.r` to `8`. Raises `InputError`."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    for key, text in settings.items():
        *tables, last = key.split(".")
        place = values
        for name in tables:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise InputError(f"{key}: {name} is no table.", fix="Every key is explained in docs/training.md.")
        try:
            place[last] = _here(text) if key in PATHS else YAML(typ="safe").load(text)
        except YAMLError:
            raise InputError(
                f"{key}={text} cannot be read.", fix="Write a number, a word, or a list: [a, b]."
            ) from None
    return _located(make_recipe(values), _here)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Save as YAML every key that is set; `read_recipe` gives the same recipe back."""
    write_atomic(path, recipe_text(recipe))


def recipe_text(recipe: Recipe) -> str:
    """The YAML that `write_recipe` saves."""
    text = io.StringIO()
    values = recipe.model_dump(mode="json", exclude_none=True)
    YAML().dump(dict(sorted(values.items(), key=lambda item: item[0] in METHODS)), text)
    return text.getvalue()


def resolve_recipe(recipe: Recipe, base: Base, rows: int, tokens: int) -> Resolved:
    """Fill every gap for `rows` rows of `tokens` tokens in all. `save_steps` stays None: by time."""
    size = defaults.Size(rows, tokens, base.hidden_size)
    knobs = recipe.knobs
    filled: dict[str, Any] = {}
    reasons: dict[str, str] = {}

    def fill(key: str, value: Any, reason: str) -> None:
        if dict(recipe)[key] is None:
            filled[key], reasons[key] = value, reason

    if recipe.name is None:
        path = Path(recipe.data)
        word = path.name if path.is_dir() else path.stem
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-._")[:63].rstrip("-._") or "model"
        fill("name", name, f"{name}, after the data {'folder' if path.is_dir() else 'file'}")
    epochs, reason = defaults.epochs(size) if knobs.steps is None else defaults.few_epochs(size, knobs.steps)
    fill("epochs", epochs, reason)
    pace = knobs.pace if isinstance(knobs, Objective) else 1.0
    rate, reason = defaults.learning_rate(size, recipe.weights.rate * pace, recipe.method)
    if recipe.learning_rate_multiplier is not None:
        default, rate = rate, float(f"{rate * recipe.learning_rate_multiplier:.3g}")
        reason = f"{rate:g}, {recipe.learning_rate_multiplier:g} times the default of {default:g}"
        # It has done its work; kept beside the rate it would make the finished recipe one that contradicts itself.
        filled["learning_rate_multiplier"] = None
    fill("learning_rate", rate, reason)
    if knobs.steps is None:
        at_once, accumulation, reason = defaults.batch(size, recipe.epochs or epochs, knobs.least_steps)
    else:
        at_once, accumulation, reason = defaults.few_at_once(size, knobs.held(size.mean))
    if recipe.batch_size is not None or recipe.gradient_accumulation is not None:
        fill("batch_size", at_once, f"{at_once}; the rows of one batch")
        fill("gradient_accumulation", 1, "1; the weights change after every batch")
    else:
        fill("batch_size", at_once, reason)
        fill("gradient_accumulation", accumulation, f"{accumulation}; {at_once * accumulation} rows a step")
    room = base.window - recipe.weights.in_front
    seen = f" beside the {recipe.weights.in_front:,} in front" if recipe.weights.in_front else ""
    fill("max_length", room, f"{room:,}, what the model can see at once{seen}")
    tables = {field(recipe.method): knobs, field(recipe.way): recipe.weights}
    resolved = recipe.model_copy(update={**filled, **tables})
    check_steps(resolved, rows)
    return Resolved(resolved, reasons)


def check_steps(recipe: Recipe, rows: int) -> None:
    """Raise `InputError` where a step needs more different rows than there are, and none would be made."""
    a_step = (recipe.batch_size or 1) * (recipe.gradient_accumulation or 1)
    if recipe.knobs.steps is not None and rows < a_step:
        raise InputError(
            f"batch_size {recipe.batch_size} x gradient_accumulation {recipe.gradient_accumulation} are {a_step} "
            f"prompts a step, and there are {rows:,}.",
            f"With method: {recipe.method}, the prompts of a step are all different ones.",
            "Lower batch_size or gradient_accumulation, or add prompts.",
        )
