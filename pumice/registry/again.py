"""A registered model compared with its base once more, on its own questions or on others.

Does not train, and does not know who asked.
"""

from __future__ import annotations

from pumice.config import Home
from pumice.data.checks import load
from pumice.data.sets import SetName, choose_sets
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.run import SAMPLES, evaluate
from pumice.records import Report, Tell
from pumice.registry.card import IMPORT
from pumice.registry.models import Registry
from pumice.registry.start import base_of
from pumice.store.s3 import Objects


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
    whole, adapter = (base.folder, model.folder) if model.adapter else (model.folder, None)
    async with Pool(home.cache) as pool:
        seed = model.recipe.get("seed", 0)
        return await evaluate(base, whole, adapter, questions, set_name, pool, tell, seed, samples)
