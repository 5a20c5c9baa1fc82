"""How several processes share the rows of a step, decided before any of them starts. Knows no torch."""

from __future__ import annotations

from pumice.errors import InputError
from pumice.train.recipe import Recipe


def spread(recipe: Recipe, processes: int) -> Recipe:
    """The resolved recipe with as many batches a step as give each process equally many; rows a step stay as they are.

    Raises `InputError` where they cannot, and for a method that several processes cannot share.
    """
    if processes == 1:
        return recipe
    if recipe.knobs.unseen:
        raise InputError(
            f"method: {recipe.method} trains in one process, and here are {processes}.",
            "It learns from answers that a model writes for this very job; each process would write others.",
            "Train it on one machine with one GPU.",
        )
    at_once, batches = recipe.batch_size or 1, recipe.gradient_accumulation or 1
    rows = at_once * batches
    if batches % processes == 0:
        return recipe
    if rows % processes:
        raise InputError(
            f"A step has {rows} rows, and {processes} processes cannot share them evenly.",
            "More or fewer rows a step would be another training than the recipe says.",
            f"Set batch_size to a multiple of {processes}, or train on fewer machines.",
        )
    each = rows // processes
    at_once = next(size for size in range(min(at_once, each), 0, -1) if each % size == 0)
    return recipe.model_copy(update={"batch_size": at_once, "gradient_accumulation": rows // at_once})
