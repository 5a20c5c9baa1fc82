"""What a job will do, decided once and kept in its folder: a resumed job reads it and decides nothing anew.

Does not train, and needs no database once the plan is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

from pumice.bases.seq2seq import WAYS, is_seq2seq
from pumice.config import QUANTS, Home, Quant, Serving
from pumice.data.checks import check_unchanged as check_same
from pumice.data.checks import load
from pumice.data.kept import kept_in, key_of
from pumice.data.labels import check_seen
from pumice.data.render import Renderer, same_tokens
from pumice.data.rows import Log
from pumice.data.sets import Sets, Trained, choose_sets
from pumice.data.tokenise import LARGE, Fitted, fit
from pumice.data.window import Window
from pumice.errors import InputError
from pumice.records import Base, Dataset, Job, Kind, Tokens
from pumice.registry.models import Registry
from pumice.registry.start import Start, guide_of, starting_point
from pumice.store.files import sha256_file, sha256_folder_weights, write_atomic
from pumice.store.s3 import Objects
from pumice.train import scratch, sizes
from pumice.train.methods import METHODS, Distill, Pretrain
from pumice.train.recipe import Recipe, Resolved, resolve_recipe
from pumice.train.validation import MOST_ROWS

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
    guide_sha256: str | None = None
    program_sha256: str | None = None
    """Of the file of the user's own program that the method runs."""
    engine: str | None = None
    """What was to answer where the files leave a choice, as `PUMICE_ENGINE` said when the job began."""
    quant: Quant = QUANTS[0]
    """And in which precision, on llama.cpp."""

    def to_json(self) -> dict[str, Any]:
        """As kept in `plan.json`."""
        values = {name: value for name, value in vars(self).items() if name not in ("recipe", "base")}
        return values | {"recipe": self.recipe.model_dump(mode="json"), "base": asdict(self.base)}

    def serving(self, home: Home) -> Serving:
        """What answers in this job: the same when it is resumed, whatever is set by then."""
        return replace(home.serving, engine=self.engine, quant=self.quant)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_json` made."""
        base = Base(**{**values["base"], "folder": Path(values["base"]["folder"])})
        folders = {name: Path(values[name]) if values.get(name) else None for name in ("adapter", "guide")}
        return cls(**{**values, **folders, "recipe": Recipe.model_validate(values["recipe"]), "base": base})


class Found(NamedTuple):
    """The files that a recipe names, which may be trained on with its method."""

    dataset: Dataset
    validation: Dataset | None


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
        check_machine(plan.recipe)
        material = gather(plan.recipe, plan.base, home)
        if plan.guide and not plan.guide.exists():
            # An adapter that is asked was merged for it, in a cache that may have been emptied since.
            guide_of(plan.recipe.knobs, registry, home)
        check_unchanged(plan, material, job.id)
        return plan, material
    recipe = Recipe.model_validate(job.spec)
    check_machine(recipe)
    start = start_of(recipe, registry, home, path.with_name("base"))
    guide = guide_of(recipe.knobs, registry, home)
    material = gather(recipe, start.base, home)
    check_teacher(recipe, material, start.base, guide)
    resolved, reasons = resolve(recipe, start.base, material)
    plan = Plan(
        recipe=resolved,
        reasons=reasons,
        base=start.base,
        adapter=start.adapter,
        parent=start.parent,
        data_sha256=material.dataset.sha256,
        validation_sha256=_sha256(material.validation),
        guide=guide,
        guide_sha256=sha256_folder_weights(guide) if guide else None,
        program_sha256=program_sha256(resolved),
        engine=home.serving.engine,
        quant=home.serving.quant,
    )
    write_atomic(path, json.dumps(plan.to_json(), indent=2, default=str))
    return plan, material


def describe(plan: Plan, material: Material) -> dict[str, object]:
    """What the check found and what was decided from it, for whoever follows the job."""
    sets, rows = material.sets, material.rows
    counts = {"kind": material.dataset.kind, "rows": len(rows.tokens), "questions": len(sets.questions)}
    return {**counts, "set": sets.name, "note": rows.note, "reasons": plan.reasons}


def check_unchanged(plan: Plan, material: Material, job: str) -> None:
    """Raise `InputError` unless all that the plan reads is as it was when the job began."""
    for what, file, then, now in (
        ("data", plan.recipe.data, plan.data_sha256, material.dataset.sha256),
        ("validation", plan.recipe.validation, plan.validation_sha256, _sha256(material.validation)),
    ):
        if then != now:
            raise InputError(
                f"{what}: {file} has changed since job {job} began.",
                "The job would go on with other rows than it was trained on so far.",
                "Put the file back, or start a new job: pumice run",
            )
    if program_sha256(plan.recipe) != plan.program_sha256:
        raise InputError(
            f"{plan.recipe.knobs.program} has changed since job {job} began.",
            "The job would go on with other rewards than it learned from so far.",
            "Put the file back, or start a new job: pumice run",
        )
    if plan.guide and sha256_folder_weights(plan.guide) != plan.guide_sha256:
        raise InputError(
            f"{plan.recipe.knobs.guide} is gone, or has changed, since job {job} began.",
            f"The job asks that model while it trains, and its weights in {plan.guide} are not the ones it began with.",
            "Put them back, or start a new job: pumice run",
        )


def start_of(recipe: Recipe, registry: Registry, home: Home, folder: Path) -> Start:
    """Where training starts: a base or a registered model, or for `pretrain` a new base that is made in `folder`."""
    if not isinstance(recipe.knobs, Pretrain):
        return starting_point(recipe.model, recipe.start, registry, home)
    texts = (example.text or "" for example in choose_sets(*read(recipe, home)).trained)
    return Start(scratch.new_base(recipe.knobs, recipe.max_length or scratch.WINDOW, recipe.seed, texts, folder))


def resolve(recipe: Recipe, base: Base, material: Material) -> Resolved:
    """The recipe with every gap filled for these rows."""
    rows = material.rows.tokens
    return resolve_recipe(recipe, base, len(rows), int(rows.sizes.sum()) + len(rows) * recipe.knobs.unseen)


def gather(recipe: Recipe, base: Base, home: Home) -> Material:
    """Read, split and render what a recipe names, for `base`. Raises `DataError`, `InputError`.

    What was made of the same content before is taken from the cache.
    """
    check_base(recipe, base)
    dataset, validation = found = read(recipe, home)
    renderer, kept = Renderer(base.folder), kept_in(home)
    rules = limit_of(recipe, base), recipe.too_long
    path = Objects(home.s3).locate(recipe.data)
    key = key_of(
        "rows",
        dataset.sha256,
        path.suffix.lower(),
        dataset.kind,
        dataset.documents,
        _sha256(validation),
        renderer.sha256,
        *rules,
        recipe.knobs.reading,
    )
    if known := kept.find(key):
        rows, held = known
        return Material(*found, choose_sets(dataset, validation, held), rows)
    trained = dataset.examples if validation else Trained(dataset)
    examples = (row for example in trained for row in recipe.knobs.reads(example))
    large = path.is_file() and path.stat().st_size > LARGE
    with kept.making() as file:
        made = fit(examples, renderer, *rules, dataset.path, dataset.documents, file, large)
        sets = choose_sets(dataset, validation, trained.held if isinstance(trained, Trained) else None)
        for example in sets.questions:
            # What the comparison could not read is found now, not after the training.
            recipe.knobs.reads(example)
        check_same(path, dataset.path, dataset.sha256)
        kept.keep(key, file, made, sets.questions if sets.name == "held-out rows" else ())
    return Material(*found, sets, made)


def unseen_rows(plan: Plan, material: Material) -> Sequence[Tokens]:
    """Rows of the comparison that are not trained on, as training reads them; those too long for it are left out."""
    if material.sets.name == "recall of trained rows":
        return ()
    few = material.sets.questions[:MOST_ROWS]
    # Its log is not read: the comparison says what it leaves out.
    window = Window(Renderer(plan.base.folder), limit_of(plan.recipe, plan.base), None, Log(""))
    rows = window.fit([row for example in few for row in plan.recipe.knobs.reads(example)])
    classes = material.rows.tokens.labels()
    return [row for row in rows if not isinstance(row.label, str) or row.label in classes]


def limit_of(recipe: Recipe, base: Base) -> int:
    """Tokens that a row may have at most. Raises `InputError` where what stands in front takes their room."""
    room = base.window - recipe.weights.in_front
    if recipe.weights.in_front and (recipe.max_length or 1) > room:
        raise InputError(
            f"{recipe.way}.tokens = {recipe.weights.in_front:,} leaves {max(0, room):,} tokens of the window.",
            f"{base.name} sees {base.window:,} tokens at once, and those stand in front of every row.",
            f"Choose fewer, or a max_length of at most {room:,}." if room > 0 else "Choose fewer.",
        )
    return recipe.max_length or room


def read(recipe: Recipe, home: Home) -> Found:
    """Judge what a recipe names. Raises `DataError`, `InputError`."""
    objects, kept = Objects(home.s3), kept_in(home)
    dataset = load(objects.locate(recipe.data), recipe.data, kept)
    validation = load(objects.locate(recipe.validation), recipe.validation, kept) if recipe.validation else None
    for word, each in ((recipe.data, dataset), (recipe.validation, validation)):
        if each:
            check_kind(recipe, str(word), each.kind)
    if validation:
        check_seen(validation, dataset.classes)
    return Found(dataset, validation)


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


def check_teacher(recipe: Recipe, material: Material, base: Base, teacher: Path | None) -> None:
    """Raise `InputError` for a teacher that cannot read along, before anything is trained."""
    knobs = recipe.knobs
    if not isinstance(knobs, Distill) or knobs.source == "answers" or teacher is None:
        return
    for file, dataset in ((recipe.data, material.dataset), (recipe.validation, material.validation)):
        if dataset and dataset.kind is Kind.PROMPTS:
            raise InputError(
                f"{file} holds prompts, and distill.source: logits needs answers that the teacher reads along.",
                fix="Take data with answers, or let the teacher write them: distill.source: answers",
            )
    if not same_tokens(base.folder, teacher):
        raise InputError(
            f"The teacher {knobs.teacher} has another tokenizer than {base.name}.",
            "distill.source: logits compares how likely each finds every token, so both must have the same ones.",
            "Choose a teacher of the same family, or let it write answers: distill.source: answers",
        )


def check_base(recipe: Recipe, base: Base) -> None:
    """Raise `InputError` for a base that the recipe's method cannot train."""
    if is_seq2seq(base.folder) and recipe.method not in WAYS:
        raise InputError(
            f"{base.name} is a seq2seq base, and method: {recipe.method} cannot train it.",
            "It reads a text with one half and writes the answer with the other, and learns answers to questions only.",
            f"Choose {', '.join(WAYS)}, or another base.",
        )


def check_machine(recipe: Recipe) -> None:
    """Raise `InputError` for weights that this machine cannot train, before anything is loaded."""
    if not recipe.weights.four_bits:
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


def program_sha256(recipe: Recipe) -> str | None:
    """Of the user's own program that the recipe's method runs, if there is one and its file is there."""
    program = recipe.knobs.program
    return sha256_file(Path(program)) if program and Path(program).is_file() else None


def _sha256(dataset: Dataset | None) -> str | None:
    return dataset.sha256 if dataset else None
