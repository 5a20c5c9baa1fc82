"""What every training method says of itself before anything heavy is loaded. Knows no library that trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from pumice.records import Example, Kind
from pumice.train.rules import Rule

ASKABLE = frozenset({Kind.INSTRUCTION, Kind.TEXT, Kind.CHAT})
"""Data of which each row holds the tokens to learn."""

Proof = Literal["answers", "pairs", "ranking", "classes", "rewards"]
"""How a result is compared with its base; `evaluate` has one file for each."""

Way = Annotated[
    Literal["lora", "rslora", "dora", "qlora", "last-layers", "full"],
    Rule("one of lora, rslora, dora, qlora, last-layers, full"),
]
"""Weights that an objective can train."""


class Method(BaseModel):
    """The frozen knobs of one method; its class says what it reads, trains and needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    kinds: ClassVar[frozenset[Kind]]
    """The shapes of data that it reads."""
    trains: ClassVar[str]
    """A sentence: which numbers change, or what they learn from."""
    paper: ClassVar[str]
    """Where the method comes from."""
    proof: ClassVar[Proof] = "answers"
    """How its result is compared with the base."""
    classifier: ClassVar[bool] = False
    """True: the result gives classes or a score instead of text, and is a whole model."""
    reference: ClassVar[bool] = False
    """Whether it compares with where it starts: whole weights are then there twice."""
    all_logits: ClassVar[bool] = False
    """Whether the logits of every token exist at once, not only those of a few labels."""
    in_parts: ClassVar[bool] = True
    """Whether a batch may go through the model a few rows at a time."""
    least_steps: ClassVar[int] = 128
    """By default at least about so many steps, as far as there are rows for them."""
    steps: ClassVar[int | None] = None
    """By default at most so many steps, where each takes long."""

    def reads(self, example: Example) -> tuple[Example, ...]:
        """A row of the data as the rows that are trained on."""
        return (example,)

    @property
    def reading(self) -> str:
        """What of the knobs decides what `reads` gives; methods that say the same make the same rows of a file."""
        return ""

    def resolved(self) -> Method:
        """The same knobs with every default filled in."""
        return self

    def held(self, tokens: float) -> float:
        """Tokens that a row of so many takes in a step."""
        return tokens

    def located(self, find: Callable[[str], str]) -> Method:
        """The same knobs with every file that they name where `find` says."""
        return self

    @property
    def guide(self) -> str | None:
        """Name of another model that training asks, such as a teacher."""
        return None

    @property
    def program(self) -> str | None:
        """File of a program of the user's own, which training runs."""
        return None

    @property
    def runs_code(self) -> bool:
        """Whether the knobs name such a program, which nobody else may do."""
        return self.program is not None

    @property
    def unseen(self) -> int:
        """Tokens that a row gets only while the job runs, about."""
        return 0


class Weights(Method):
    """Which numbers of the model change. As the `method` itself, they are trained on the data's own answers."""

    kinds: ClassVar[frozenset[Kind]] = ASKABLE
    adapter: ClassVar[bool]
    """True: a small file over its base; False: a whole model."""
    four_bits: ClassVar[bool] = False
    """Whether the base is held in 4 bits while it trains, which only a GPU can."""
    servable_by: ClassVar[frozenset[str]]
    """Names of the engines that can answer with the result."""
    rate: ClassVar[float]
    """Learning rate for a small set on a base of hidden size 576; `resolve_recipe` scales it."""
    packs: ClassVar[bool] = True
    """Whether rows may lie end to end in one sequence."""
    recomputes: ClassVar[bool] = True
    """Whether activations may be computed twice where memory is short."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """How many numbers of such a base are trained."""
        raise NotImplementedError

    def kept(self, layers: int) -> int:
        """Of how many of the layers activations are kept for the way back."""
        return layers

    @property
    def in_front(self) -> int:
        """Positions of the window that stand in front of every conversation, and so are none of its own."""
        return 0

    def resolved(self) -> Weights:
        """The same knobs with every default filled in."""
        return self


class Objective(Method):
    """What the weights learn from, where that is not the data's own answers."""

    pace: ClassVar[float] = 1.0
    """Learning rate in units of that of the same weights trained on answers."""

    weights: Way = "lora"
    """Which numbers change; their own table may stand beside this one."""
