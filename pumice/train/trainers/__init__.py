"""How each method's trainer is built, by the method's name. Imports TRL and peft; only `train.loop` loads this."""

from __future__ import annotations

from collections.abc import Callable

from pumice.train.trainers import distill, dpo, head, kto, orpo, reward, rlhf, sft
from pumice.train.trainers.ours import Ours
from pumice.train.trainers.parts import Parts

OBJECTIVES: dict[str, Callable[[Parts], Ours]] = {
    "cpt": sft.build,
    "distill": distill.build,
    "dpo": dpo.build,
    "kto": kto.build,
    "orpo": orpo.build,
    "head": head.build,
    "reward": reward.build,
    "rlhf": rlhf.build,
}
"""Methods that learn from something else than the data's own answers; all others are trained by `sft`."""


def build_trainer(parts: Parts) -> Ours:
    """The trainer of the recipe's method."""
    return OBJECTIVES.get(parts.recipe.method, sft.build)(parts)


__all__ = ["Ours", "Parts", "build_trainer"]
