"""Which of several variants answers a request. Knows no models."""

from __future__ import annotations

import random
from collections.abc import Mapping


def choose(weights: Mapping[str, float], dice: random.Random) -> str:
    """A name drawn by weight; where all weights are 0 every name is as likely, as SageMaker has it."""
    names = list(weights)
    assert names, "a choice needs variants"
    if not any(weights.values()):
        return dice.choice(names)
    return dice.choices(names, [weights[name] for name in names])[0]
