"""A registered model compared with its base once more, on its own questions or on others.

Does not train, and does not know who asked.
"""

from __future__ import annotations

from pumice.config import Home
from pumice.data.checks import load
from pumice.data.sets import SetName, choose_sets
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.run import evaluate
from pumice.evaluate.trial import SAMPLES, Trial
from pumice.records import Report, Tell
from pumice.registry.card import IMPORT
from pumice.registry.models import Registry
from pumice.registry.start import base_of, guide_of
from pumice.store.s3 import Objects
from pumice.train.methods import Lora
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
    base, objects = base_of(model, registry, home), Objects(home.s3)
    set_name: SetName = "validation file"
    if data:
        questions = load(objects.locate(data), data).examples
    elif "data" not in model.recipe:
        raise InputError(
            f"{model.id} was imported, and has no questions of its own.",
            fix=f"Name the questions to ask: pumice evaluate {model.id} --data FILE",
        )
    else:
        trained, validation = model.recipe["data"], model.recipe["validation"]
        dataset = load(objects.locate(trained), trained)
        if dataset.sha256 != model.data_sha256:
            raise InputError(
                f"{dataset.path} has changed since {model.id} was trained on it.",
                "Rows that were trained on could be taken for unseen ones.",
                f"Name the questions to ask: pumice evaluate {model.id} --data FILE",
            )
        sets = choose_sets(dataset, load(objects.locate(validation), validation) if validation else None)
        questions, set_name = sets.questions, sets.name
    recipe = Recipe.model_validate(model.recipe) if model.recipe else None
    trial = Trial(
        base=base,
        whole=model.folder,
        adapter=model.folder if model.adapter else None,
        examples=questions,
        set=set_name,
        seed=recipe.seed if recipe else 0,
        samples=samples,
        method=recipe.knobs if recipe else Lora(),
        guide=guide_of(recipe.knobs, registry, home) if recipe else None,
    )
    async with Pool(home.cache) as pool:
        return await evaluate(trial, pool, tell)
