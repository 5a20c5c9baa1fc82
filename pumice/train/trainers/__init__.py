"""How each method's trainer is built, by the method's name. Imports TRL and peft; only `train.loop` loads this."""

from __future__ import annotations

from collections.abc import Callable

from transformers import Trainer

from pumice.train.trainers import full, lora
from pumice.train.trainers.parts import Parts

TRAINERS: dict[str, Callable[[Parts], Trainer]] = {"lora": lora.build, "full": full.build}

__all__ = ["TRAINERS", "Parts"]
