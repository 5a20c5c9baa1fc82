"""One of two processes that train together: `one_of_two.py CASES FOLDER`. Run by test_train_ranks.py."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pumice.errors import StoppedError
from pumice.records import Base, Event, Tokens
from pumice.train import loop, ranks
from pumice.train.recipe import Recipe
from pumice.train.spread import spread


class Case(NamedTuple):
    """One training; `stop` is the step at which the second process, and it alone, is asked to stop."""

    recipe: Recipe
    base: Base
    rows: Sequence[Tokens]
    stop: int | None = None


def train(case: Case, folder: Path) -> dict[str, Any]:
    """What was told, and the weights that this process holds at the end."""
    events: list[Event] = []
    held: list[torch.Tensor] = []
    asked = count(1)
    check = ranks.check_equal

    def keep(trainer: Any) -> None:
        held.extend(each.detach().clone() for each in ranks.trained(trainer))
        check(trainer)

    ranks.check_equal = keep  # type: ignore[assignment]
    given = spread(case.recipe, ranks.count()), case.base, case.rows, folder, events.append
    with suppress(StoppedError):
        loop.train(*given, lambda: next(asked) == case.stop and not ranks.first())
    if case.stop:
        # As on a machine that SageMaker has given no copy.
        ranks.hand_out(folder / "checkpoints", folder / "checkpoints")
        loop.train(*given, lambda: False)
    ranks.check_equal = check
    return {"events": events, "weights": held}


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with ranks.joined():
        found = {name: train(case, folder / name) for name, case in pickle.loads(cases.read_bytes()).items()}
    (folder / "found.pickle").write_bytes(pickle.dumps(found))
