"""A registered model compared with its base once more, on its own questions or on others.

Does not train, and does not know who asked.
"""

from __future__ import annotations

from filelock import FileLock

from pumice.config import Home
from pumice.data.checks import load
from pumice.data.kept import kept_in
from pumice.data.sets import SetName, choose_sets
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.run import READS, evaluate
from pumice.evaluate.trial import SAMPLES, Trial
from pumice.records import Base, Example, Kind, Model, Report, Tell
from pumice.registry.card import IMPORT
from pumice.registry.models import Registry
from pumice.registry.start import base_of, guide_of
from pumice.store.s3 import Objects
from pumice.train import scratch
from pumice.train.methods import Lora, Method, Pretrain
from pumice.train.recipe import Recipe


async def compare(
    name: str, data: str | None, registry: Registry, home: Home, tell: Tell, samples: int = SAMPLES
) -> Report:
    """Base against tuned on `data`, or on the set that the model's recipe held out. Stores nothing."""
    model = registry.find(name)
    if model.base_source.startswith(IMPORT):
        raise InputError(
            f"{model.id} was imported as a whole model, and nothing is known of a base to compare it with.",
            fix="Import it with its base: pumice models import FOLDER --name NAME --base BASE",
        )
    base, objects, kept = counterpart(model, registry, home), Objects(home.s3), kept_in(home)
    set_name: SetName = "validation file"
    recipe = Recipe.model_validate(model.recipe) if model.recipe else None
    method = recipe.knobs if recipe else Lora()
    if data:
        asked = load(objects.locate(data), data, kept)
        check_kind(data, asked.kind, model, method)
        questions = tuple(asked.examples)
    elif "data" not in model.recipe:
        raise InputError(
            f"{model.id} was imported, and has no questions of its own.",
            fix=f"Name the questions to ask: pumice evaluate {model.id} --data FILE",
        )
    else:
        trained, validation = model.recipe["data"], model.recipe["validation"]
        dataset = load(objects.locate(trained), trained, kept)
        if dataset.sha256 != model.data_sha256:
            raise InputError(
                f"{dataset.path} has changed since {model.id} was trained on it.",
                "Rows that were trained on could be taken for unseen ones.",
                f"Name the questions to ask: pumice evaluate {model.id} --data FILE",
            )
        sets = choose_sets(dataset, load(objects.locate(validation), validation, kept) if validation else None)
        questions, set_name = sets.questions, sets.name
    if method.proof == "answers" and any(each.text is None and not answered(each) for each in questions):
        raise InputError(
            f"{data or model.recipe['data']} holds prompts without answers, which are nothing to compare with.",
            fix=f"Name questions with answers: pumice evaluate {model.id} --data FILE",
        )
    trial = Trial(
        base=base,
        whole=model.folder,
        adapter=model.folder if model.adapter else None,
        examples=questions,
        set=set_name,
        seed=recipe.seed if recipe else 0,
        samples=samples,
        method=method,
        # A teacher has done its work; a reward model is asked again.
        guide=guide_of(method, registry, home) if method.proof == "rewards" else None,
    )
    async with Pool(home.cache, serving=home.serving) as pool:
        return await evaluate(trial, pool, tell)


def counterpart(model: Model, registry: Registry, home: Home) -> Base:
    """What `model` is compared with: its base, or the random weights that it was trained from, made once more."""
    if not model.base_source.startswith(scratch.SOURCE):
        return base_of(model, registry, home)
    recipe = Recipe.model_validate(model.recipe)
    assert isinstance(recipe.knobs, Pretrain)
    folder = home.cache / "untrained" / model.base_sha256[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.exists():
            return scratch.as_base(recipe.knobs, folder)
        return scratch.untrained(recipe.knobs, recipe.seed, model.folder, folder)


def check_kind(file: str, kind: Kind, model: Model, method: Method) -> None:
    """Raise `InputError` for data on which a model of that method cannot be compared."""
    kinds = READS[method.proof]
    if kind not in kinds:
        raise InputError(
            f"{file} holds {kind} data, on which {model.id} cannot be compared with its base.",
            f"It is compared on {' or '.join(sorted(kinds))} data.",
            f"Name another file: pumice evaluate {model.id} --data FILE",
        )


def answered(example: Example) -> bool:
    """Whether a conversation ends with an answer."""
    return example.messages[-1]["role"] == "assistant"
