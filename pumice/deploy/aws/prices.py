"""What AWS asks for by the hour and by the request, and what its machines hold. Knows no account.

List prices of us-east-1 without taxes, as several public price tables of 2026 agree on them; AWS's own page is
aws.amazon.com/sagemaker/ai/pricing. `prices.json` in Pumice's folder overrides them: {"ml.g5.xlarge": 1.6}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from pumice.errors import InputError, NotFoundError

READ_ON = date(2026, 11, 28)
FILE = "prices.json"
HOURS = 730
"""Of a month."""


@dataclass(frozen=True)
class Machine:
    """One of SageMaker's instances."""

    name: str
    memory: float
    """GB that a model can be in: the GPU's, where there is one."""
    gpu: bool
    price: float
    """US dollars an hour."""
    processes: int = 1
    """That train on it: one a GPU, each with its part of the memory. So many GPUs share a model that needs them."""


MACHINES = (
    Machine("ml.c5.xlarge", 8, False, 0.204),
    Machine("ml.m5.xlarge", 16, False, 0.23),
    Machine("ml.c5.2xlarge", 16, False, 0.408),
    Machine("ml.g4dn.xlarge", 16, True, 0.7364),
    Machine("ml.g6.xlarge", 24, True, 1.1267),
    Machine("ml.g5.xlarge", 24, True, 1.408),
    Machine("ml.g5.2xlarge", 24, True, 1.515),
    Machine("ml.g6.12xlarge", 96, True, 5.752, 4),
    Machine("ml.g5.12xlarge", 96, True, 7.09, 4),
)
REQUEST = 3.50e-6 + 0.20e-6 + 1.25e-6
"""One request: gateway, function and a row in the log, without the function's time."""
STORED = 0.023
"""A GB in S3, a month."""
SERVERLESS_SECOND = 0.00002
"""A second of a serverless container with 1 GB."""


def machines(folder: Path) -> tuple[Machine, ...]:
    """The table, with the prices that the user's own file names. Raises `InputError`."""
    path = folder / FILE
    if not path.exists():
        return MACHINES
    try:
        own: Mapping[str, float] = {name: float(price) for name, price in json.loads(path.read_text("utf-8")).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is no table of prices.", fix='Write one: {"ml.g5.xlarge": 1.6}') from error
    return tuple(replace(each, price=own.get(each.name, each.price)) for each in MACHINES)


def find(name: str, table: tuple[Machine, ...]) -> Machine:
    """Raises `NotFoundError` for one that is not in the table."""
    found = next((each for each in table if each.name == name), None)
    if found is None:
        raise NotFoundError(
            f"--instance {name} is not in the table of prices and memory.",
            "A plan says what it costs and whether the model fits; of this one neither is known.",
            f"Choose one of {', '.join(each.name for each in table)}.",
        )
    return found


SMALL = 2e9
"""Weights up to which a CPU answers at the speed of reading, with 8 bits each."""


def cheapest(parameters: int, need: float, table: tuple[Machine, ...]) -> Machine | None:
    """The cheapest that holds `need` GB; None where none does. Large models are slow without a GPU."""
    fitting = [each for each in table if each.memory >= need and (each.gpu or parameters <= SMALL)]
    return min(fitting, key=lambda each: each.price, default=None)
