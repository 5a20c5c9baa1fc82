"""What a job will do, decided once and kept in its folder: a resumed job reads it and decides nothing anew.

Does not train, and needs no database once the plan is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from pumice.config import Home
from pumice.data.checks import load
from pumice.data.render import Renderer
from pumice.data.sets import Sets, choose_sets
from pumice.data.window import Fitted, fit
from pumice.errors import InputError
from pumice.records import Base, Dataset, Job, Kind
from pumice.registry.models import Registry
from pumice.registry.start import guide_of, starting_point
from pumice.store.files import write_atomic
from pumice.store.s3 import Objects
from pumice.train import sizes
from pumice.train.methods import METHODS
from pumice.train.recipe import Recipe, resolve_recipe

FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """A recipe with every default filled in, where it starts, and the hashes of all that it reads."""

    recipe: Recipe
    reasons: Mapping[str, str]
    """Why each default is what it is, by recipe key."""
    base: Base
    adapter: Path | None
    """The adapter that is trained on, for `start: continue`."""
    parent: str | None
    """The registered `name@version` that this starts from."""
    data_sha256: str
    validation_sha256: str | None
    guide: Path | None = None
    """Folder of the other model that the method asks: a teacher, a reward model."""

    def to_json(self) -> dict[str, Any]:
        """As kept in `plan.json`."""
        values = {name: value for name, value in vars(self).items() if name not in ("recipe", "base")}
        return values | {"recipe": self.recipe.model_dump(mode="json"), "base": asdict(self.base)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_json` made."""
        base = Base(**{**values["base"], "folder": Path(values["base"]["folder"])})
        folders = {name: Path(values[name]) if values.get(name) else None for name in ("adapter", "guide")}
        return cls(**{**values, **folders, "recipe": Recipe.model_validate(values["recipe"]), "base": base})


@dataclass(frozen=True)
class Material:
    """What is trained on and asked: read from the files that the plan names."""

    dataset: Dataset
    validation: Dataset | None
    sets: Sets
    rows: Fitted


def decide(job: Job, home: Home, registry: Registry) -> tuple[Plan, Material]:
    """The job's plan: the one in its folder, or else a new one, kept there. Raises `DataError`, `InputError`."""
    path = home.jobs / job.id / FILE
    if path.exists():
        plan = Plan.from_json(json.loads(path.read_text("utf-8")))
        material = gather(plan.recipe, plan.base, home)
        for what, file, then, now in (
            ("data", plan.recipe.data, plan.data_sha256, material.dataset.sha256),
            ("validation", plan.recipe.validation, plan.validation_sha256, _sha256(material.validation)),
        ):
            if then != now:
                raise InputError(
                    f"{what}: {file} has changed since job {job.id} began.",
                    "The job would go on with other rows than it was trained on so far.",
                    "Put the file back, or start a new job: pumice run",
                )
        return plan, material
    recipe = Recipe.model_validate(job.spec)
    check_machine(recipe)
    start = starting_point(recipe.model, recipe.start, registry, home)
    guide = guide_of(recipe.knobs, registry, home)
    material = gather(recipe, start.base, home)
    tokens = material.rows.tokens
    resolved, reasons = resolve_recipe(recipe, start.base, len(tokens), sum(row.size for row in tokens))
    shas = material.dataset.sha256, _sha256(material.validation)
    plan = Plan(resolved, reasons, start.base, start.adapter, start.parent, *shas, guide)
    write_atomic(path, json.dumps(plan.to_json(), indent=2, default=str))
    return plan, material


def gather(recipe: Recipe, base: Base, home: Home) -> Material:
    """Read, split and render what a recipe names, for `base`. Raises `DataError`, `InputError`."""
    objects = Objects(home.s3)
    dataset = load(objects.locate(recipe.data), recipe.data)
    validation = load(objects.locate(recipe.validation), recipe.validation) if recipe.validation else None
    for word, each in ((recipe.data, dataset), (recipe.validation, validation)):
        if each:
            check_kind(recipe, str(word), each.kind)
    sets = choose_sets(dataset, validation)
    trained = [row for example in sets.trained for row in recipe.knobs.reads(example)]
    rows = fit(trained, Renderer(base.folder), recipe.max_length or base.window, recipe.too_long, dataset.path)
    return Material(dataset, validation, sets, rows)


def check_kind(recipe: Recipe, file: str, kind: Kind) -> None:
    """Raise `InputError` for data that the recipe's method does not read."""
    kinds = recipe.knobs.kinds
    if kind in kinds:
        return
    fitting = [name for name, method in METHODS.items() if kind in method.kinds]
    raise InputError(
        f"{file} holds {kind} data, and method: {recipe.method} does not read it.",
        f"It reads {' or '.join(sorted(kinds))} data.",
        f"Choose another file, or a method for {kind} data: {', '.join(fitting)}.",
    )


def check_machine(recipe: Recipe) -> None:
    """Raise `InputError` for weights that this machine cannot train, before anything is loaded."""
    if recipe.way != "qlora":
        return
    if not sizes.machine().gpus:
        raise InputError(
            "qlora needs an NVIDIA GPU, and this machine has none.",
            "Its 4-bit weights are computed by bitsandbytes, on a GPU only.",
            "Train with lora: it learns the same, in more memory.",
        )
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "qlora needs the library bitsandbytes, which is not installed.", fix="Install it: pip install 'pumice[gpu]'"
        )


def _sha256(dataset: Dataset | None) -> str | None:
    return dataset.sha256 if dataset else None
