"""Hyperparameters of a customization job: text under Bedrock's names, or `pumice.` before a recipe's own key.

Knows the names and rules of both; what a recipe does with them is the recipe's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pumice.errors import InputError, RequestError
from pumice.train.methods import METHODS
from pumice.train.recipe import Recipe
from pumice.train.rules import Count, Rule, Whole, keys_of, rule_of

PREFIX = "pumice."
FIELD = "hyperParameters"


class _Parameter(NamedTuple):
    """A name of Bedrock's: the recipe's key for it and what it may be."""

    key: str
    kind: Any

    @property
    def rule(self) -> str:
        return next(each.text for each in self.kind.__metadata__ if isinstance(each, Rule))


_Rate = Annotated[float, Field(gt=0, le=1), Rule("a number above 0, at most 1")]
PARAMETERS: Mapping[str, _Parameter] = {
    "epochCount": _Parameter("epochs", Count),
    "batchSize": _Parameter("batch_size", Count),
    "learningRate": _Parameter("learning_rate", _Rate),
    "learningRateWarmupSteps": _Parameter("warmup_steps", Whole),
}
REFUSED = {
    "learningRateMultiplier": "Say the rate itself: learningRate.",
    "earlyStoppingThreshold": "Training ends after epochCount epochs.",
    "earlyStoppingPatience": "Training ends after epochCount epochs.",
}
ELSEWHERE = {
    "model": "baseModelIdentifier",
    "name": "customModelName",
    "data": "trainingDataConfig",
    "validation": "validationDataConfig",
}
"""Recipe keys that the request says in another place."""


def recipe_values(given: Mapping[str, str]) -> dict[str, Any]:
    """The recipe keys that hyperparameters set. Raises `RequestError` that names the one at fault.

    Values under `pumice.` are read as in a recipe's file; whether they fit is for the recipe to say.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        *tables, last = _key(name).split(".")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        if last in place:
            raise _refusal(name, f"{name} is said twice, once under each of its names.", "Leave one of them out.")
        place[last] = _bedrock(name, text) if name in PARAMETERS else _plain(name, text)
    method = values.get("method", "lora")
    if method not in METHODS:
        name = f"{PREFIX}method"
        raise _refusal(name, f"{name}: {method!r} is no method.", f"There is {', '.join(METHODS)}.")
    return values


def _key(name: str) -> str:
    """The recipe's key for a hyperparameter, with dots between table and key."""
    if name in REFUSED:
        raise _refusal(name, f"{name} is not served here.", REFUSED[name])
    key = PARAMETERS[name].key if name in PARAMETERS else name.removeprefix(PREFIX)
    if name not in PARAMETERS and (not name.startswith(PREFIX) or key not in _keys()):
        known = [*PARAMETERS, *(f"{PREFIX}{each}" for each in _keys() if each not in ELSEWHERE)]
        near = difflib.get_close_matches(name, known, 1, 0.4)
        fix = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
        raise _refusal(name, f"{name} is no hyperparameter.", fix)
    if key in ELSEWHERE:
        raise _refusal(name, f"{name} is no hyperparameter.", f"Say it in {ELSEWHERE[key]}.")
    return key


def _keys() -> list[str]:
    """Every key of a recipe, those in a method's table with its name before them."""
    tables = [f"{method}.{key}" for method, knobs in METHODS.items() for key in knobs.model_fields]
    return [*(key for key in keys_of(Recipe) if key not in METHODS), *tables]


def _bedrock(name: str, text: str) -> Any:
    parameter = PARAMETERS[name]
    try:
        return TypeAdapter(parameter.kind).validate_python(text)
    except ValidationError as error:
        raise _refusal(name, f"{name} = {text!r}; it must be {parameter.rule}.") from error


def _plain(name: str, text: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        rule = rule_of(_field(name.removeprefix(PREFIX)))
        raise _refusal(name, f"{name} = {text!r} cannot be read; it must be {rule}.") from error


def _field(key: str) -> Any:
    table, _, last = key.rpartition(".")
    return METHODS[table].model_fields[last] if table else Recipe.model_fields[key]


def _refusal(name: str, what: str, fix: str = "") -> InputError:
    return RequestError(f"{FIELD}: {what}", fix=fix, field=f"{FIELD}.{name}")
