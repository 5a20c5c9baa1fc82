"""The knobs of a reward model. Does not know how it is trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pumice.records import Kind
from pumice.train.methods.method import Objective
from pumice.train.rules import Rule


class Reward(Objective):
    """A head that gives an answer a score, so that chosen answers score higher than rejected ones."""

    kinds: ClassVar = frozenset({Kind.PREFERENCE})
    trains: ClassVar = "A head that scores an answer; the chosen one of a pair must score higher."
    paper: ClassVar = "Ouyang et al. 2022, Training language models to follow instructions, arXiv:2203.02155"
    proof: ClassVar = "ranking"
    classifier: ClassVar = True
    in_parts: ClassVar = False
    pace: ClassVar = 0.25

    weights: Annotated[
        Literal["lora", "rslora", "dora", "last-layers", "full"],
        Rule("one of lora, rslora, dora, last-layers, full"),
    ] = "lora"
    """Which numbers change beside the head; their own table may stand beside this one."""
