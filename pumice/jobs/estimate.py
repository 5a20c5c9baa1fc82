"""How much memory a recipe will take, told at once when it is submitted. Reads a few rows, loads and downloads nothing.

The numbers are on the safe side: a row's tokens are guessed from its bytes, and rows that were not read may be longer.
"""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import orjson

from pumice.bases import resolve
from pumice.bases.catalogue import CATALOGUE, Entry
from pumice.bases.describe import check_weights, describe, is_complete
from pumice.config import Home
from pumice.data import documents
from pumice.data.read import rows
from pumice.data.rows import Log
from pumice.errors import InputError
from pumice.records import Base
from pumice.registry.models import Registry
from pumice.registry.start import SOURCE
from pumice.store.s3 import Objects
from pumice.train import scratch, sizes
from pumice.train.methods import Pretrain
from pumice.train.recipe import Recipe, resolve_recipe

SAMPLED = 500
BYTES_A_TOKEN = 3
"""English has about four; few tokenizers and languages fall below this."""
UNSEEN = 1.5
"""How much longer than the sampled rows one of the others is taken to be."""


def memory_of(recipe: Recipe, registry: Registry, home: Home) -> int | None:
    """Bytes at the peak of training and evaluation; None where the base or the data cannot be looked at yet.

    Counted as on the CPU: where there is a GPU, this is more than what the machine's own memory will hold.
    """
    knobs = recipe.knobs
    if isinstance(knobs, Pretrain):
        base: Base | None = scratch.outline(knobs, recipe.max_length or scratch.WINDOW)
    else:
        base = outline(recipe.model, registry, home)
    if base is None:
        return None
    try:
        count, tokens, longest = sample(Objects(home.s3).locate(recipe.data))
    except (InputError, OSError):
        # The job itself says what is wrong with its data.
        return None
    longest = min(longest, recipe.max_length or base.window)
    # What is longer is split.
    count = max(count, math.ceil(tokens / longest))
    tokens, longest = max(tokens, 1) + count * knobs.unseen, longest + knobs.unseen
    resolved, _ = resolve_recipe(recipe, base, count, tokens)
    training = sizes.estimate(resolved, base, tokens, longest).memory_bytes
    return max(training, evaluating(base, recipe.makes_adapter))


def evaluating(base: Base, adapter: bool) -> int:
    """Bytes of the comparison: this process, and a scoring and an answering engine for each set of weights."""
    each = sizes.PROCESS_BYTES + 4 * base.parameters + sizes.serving(base)
    return sizes.PROCESS_BYTES + each * (1 if adapter else 2)


def outline(name: str, registry: Registry, home: Home) -> Base | None:
    """The sizes of a registered model, a base of the catalogue or one that is on disk; without its weights' hash."""
    if registry.has(name):
        model = registry.find(name)
        if not model.adapter:
            return describe(model.folder, model.id, SOURCE + model.id, model.base_sha256)
        return outline(model.base, registry, home)
    if entry := next((each for each in CATALOGUE if each.id.partition("@")[0] == name.partition("@")[0]), None):
        return as_base(entry)
    for record in home.bases.glob("*/base.json"):
        if (found := resolve.load(record.parent)).name == name:
            return found
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    try:
        check_weights(folder)
        return describe(folder, name, f"folder:{folder}", "not hashed") if is_complete(folder) else None
    except InputError:
        return None


def as_base(entry: Entry) -> Base:
    """What the catalogue knows, in the form of a base that lies nowhere."""
    return Base(
        name=entry.id,
        folder=Path(),
        sha256="",
        source="",
        architecture="",
        parameters=entry.parameters,
        hidden_size=entry.hidden_size,
        layers=entry.layers,
        vocabulary=entry.vocabulary,
        window=entry.window,
        template_sha256="",
    )


def sample(path: Path) -> tuple[int, int, int]:
    """Rows, tokens in all and in the longest row, guessed from the first rows. Raises `InputError` for no data.

    Documents are judged by their sizes alone: a large one takes its time to read.
    """
    if documents.are_documents(path):
        lengths = [math.ceil(size / BYTES_A_TOKEN) for size in documents.text_sizes(path)]
        if not lengths:
            raise InputError(f"{path} holds no documents.")
        return len(lengths), sum(lengths), max(lengths)
    lengths = [
        math.ceil(len(orjson.dumps(row.value, default=str)) / BYTES_A_TOKEN)
        for row in islice(rows(path, Log(str(path))), SAMPLED)
    ]
    if not lengths:
        raise InputError(f"{path} has no row that can be read.")
    if len(lengths) < SAMPLED:
        return len(lengths), sum(lengths), max(lengths)
    tokens = max(math.ceil(path.stat().st_size / BYTES_A_TOKEN), sum(lengths))
    return round(tokens * len(lengths) / sum(lengths)), tokens, math.ceil(max(lengths) * UNSEEN)
