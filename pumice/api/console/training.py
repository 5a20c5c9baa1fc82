"""`/api/methods`, `/api/estimates` and `POST /api/jobs`: what can be trained, what it takes, and go.

A form is made from what `/api/methods` says, so a new method needs no new page.
"""

from __future__ import annotations

import asyncio
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pumice.api.console.shown import ShownJob, by_name, file_of
from pumice.api.openai.refusals import Refusal
from pumice.api.platform import Platform
from pumice.api.training import check_knobs, check_model, check_name, submit
from pumice.bases.resolve import DEFAULT
from pumice.plan import check_machine, gather, resolve, start_of
from pumice.train import sizes
from pumice.train.instances import INSTANCES
from pumice.train.methods import METHODS, Method, Objective, Weights
from pumice.train.methods.method import Way
from pumice.train.recipe import PATHS, Recipe, make_recipe, recipe_text
from pumice.train.rules import keys_of, rule_of

Kind = Literal["whole", "number", "switch", "choice", "text"]
OF_ITS_OWN = ("model", "data", "validation", "name", "method", *METHODS)
"""Keys of a recipe that are no knobs."""


class Knob(BaseModel):
    """One key that a person may set."""

    name: str
    kind: Kind
    rule: str
    """The end of the sentence "it must be …"."""
    about: str
    default: Any
    """Null where it follows from the data, or where it must be told."""
    required: bool
    choices: list[str]


class ShownMethod(BaseModel):
    """One way to train."""

    name: str
    trains: str
    reads: list[str]
    paper: str
    memory: float
    """Of a step, in units of the base's weights."""
    answers_through: list[str]
    ways: list[str]
    """The weights that it can train; none where it is itself about weights."""
    knobs: list[Knob]


class Methods(BaseModel):
    """Everything that a form for a recipe needs."""

    shared: list[Knob]
    methods: list[ShownMethod]


class RecipeRequest(BaseModel):
    """A recipe whose files are uploaded ones' ids or `s3://` addresses."""

    recipe: dict[str, Any]
    task: Literal["run", "train"] = "run"
    """`train` leaves the comparison with the base out."""


class Price(BaseModel):
    """The same run on a GPU that can be rented."""

    machine: str
    gpu: str
    hours: float
    dollars: float


class Estimated(BaseModel):
    """What a recipe would do and take."""

    yaml: str
    """What was asked for, as a file for `pumice run`."""
    recipe: dict[str, Any]
    """The same with every default filled in."""
    reasons: dict[str, str]
    rows: int
    tokens: int
    memory_bytes: int
    free_bytes: int
    """What this machine has now."""
    seconds: float
    trainable_parameters: int
    prices: list[Price]


def router(platform: Platform) -> APIRouter:
    """The three routes."""
    routes = APIRouter(tags=["training"])

    @routes.get("/methods")
    async def list_methods() -> Methods:
        """Every way to train with its knobs, and the knobs that all share."""
        return await asyncio.to_thread(_methods)

    @routes.post("/estimates")
    async def estimate(asked: RecipeRequest) -> Estimated:
        """The recipe filled in, with memory, time and what the same would cost elsewhere. Starts nothing."""
        return await asyncio.to_thread(_estimated, platform, asked.recipe)

    @routes.post("/jobs")
    async def create_job(asked: RecipeRequest) -> ShownJob:
        """Queue a recipe; this server starts it."""
        return ShownJob.model_validate(await asyncio.to_thread(_submitted, platform, asked))

    return routes


def _methods() -> Methods:
    shared = [_knob(name, field) for name, field in keys_of(Recipe).items() if name not in OF_ITS_OWN]
    return Methods(shared=shared, methods=[_method(name, method) for name, method in METHODS.items()])


def _method(name: str, method: type[Method]) -> ShownMethod:
    objective, engines = issubclass(method, Objective), frozenset[str]()
    if issubclass(method, Weights):
        engines = method.servable_by
    return ShownMethod(
        name=name,
        trains=method.trains,
        reads=sorted(method.kinds),
        paper=method.paper,
        memory=sizes.factor(method),
        answers_through=["transformers"] if method.classifier else sorted(engines),
        ways=list(get_args(get_args(Way)[0])) if objective else [],
        knobs=[_knob(key, field) for key, field in keys_of(method).items() if not (objective and key == "weights")],
    )


def _knob(name: str, field: FieldInfo) -> Knob:
    parts = list(_parts(field.annotation))
    choices = [str(choice) for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    # A choice beside free text is a hint only.
    free = str in parts or any(get_origin(part) is tuple for part in parts)
    kinds: Mapping[Any, Kind] = {bool: "switch", int: "whole", float: "number"}
    kind: Kind = next((kinds[part] for part in parts if part in kinds), "text")
    default = None if field.is_required() else field.default
    return Knob(
        name=name,
        kind="choice" if choices and not free else kind,
        rule=rule_of(field),
        about=field.description or "",
        default=list(default) if isinstance(default, tuple) else default,
        required=field.is_required(),
        choices=[] if free else choices,
    )


def _parts(annotation: Any) -> Iterator[Any]:
    """The types inside a key's annotation, without what only says more of them."""
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    elif origin is typing.Annotated:
        yield from _parts(get_args(annotation)[0])
    else:
        yield annotation


def _files(platform: Platform, values: Mapping[str, Any]) -> dict[str, Path]:
    if not values.get("data"):
        raise Refusal(400, "The recipe names no data: give the id of an uploaded file, or s3://bucket/key.", "data")
    return {key: file_of(platform, str(values[key]), key) for key in PATHS if values.get(key)}


def _submitted(platform: Platform, asked: RecipeRequest) -> Any:
    files = _files(platform, asked.recipe)
    rest = {key: value for key, value in asked.recipe.items() if key not in PATHS and value is not None}
    return submit(platform, rest, files["data"], files.get("validation"), asked.task)


def _estimated(platform: Platform, values: Mapping[str, Any]) -> Estimated:
    files = _files(platform, values)
    check_model(platform, str(values.get("model", DEFAULT)))
    check_name(values.get("name"))
    recipe = make_recipe({**values, **{key: str(path) for key, path in files.items()}})
    check_knobs(platform, recipe)
    check_machine(recipe)
    home = platform.home
    home.cache.mkdir(parents=True, exist_ok=True)
    with by_name(files.values()), tempfile.TemporaryDirectory(dir=home.cache) as folder:
        base = start_of(recipe, platform.registry, home, Path(folder) / "base").base
        material = gather(recipe, base, home)
    resolved, reasons = resolve(recipe, base, material)
    lengths, machine = material.rows.tokens.sizes + recipe.knobs.unseen, sizes.machine()
    tokens, on_gpu = int(lengths.sum()), bool(machine.gpus)
    found = sizes.estimate(resolved, base, tokens, int(lengths.max()), on_gpu)
    names = {key: path.name for key, path in files.items()}
    return Estimated(
        yaml=recipe_text(_told(recipe, values).model_copy(update=names)),
        recipe=resolved.model_copy(update=names).model_dump(mode="json", exclude_none=True),
        reasons=reasons,
        rows=len(material.rows.tokens),
        tokens=tokens,
        memory_bytes=found.memory_bytes,
        free_bytes=machine.available(on_gpu),
        seconds=found.seconds,
        trainable_parameters=found.trainable_parameters,
        prices=[
            Price(machine=each.name, gpu=each.gpu, hours=hours, dollars=hours * each.price)
            for each in INSTANCES
            if (hours := each.hours(found.operations))
        ],
    )


def _told(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe without the defaults that nobody asked for, so that its file stays short."""
    names = (name for name, field in Recipe.model_fields.items() if field.default is not None and name not in values)
    return recipe.model_copy(update={name: None for name in names if name not in ("model", "method", "data")})
