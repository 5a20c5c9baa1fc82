"""What every training method says of itself before anything heavy is loaded. Knows no library that trains."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from pumice.records import Kind


class Method(BaseModel):
    """The frozen knobs of one method; its class says what it reads, trains and needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    kinds: ClassVar[frozenset[Kind]]
    """The shapes of data that it reads."""
    adapter: ClassVar[bool]
    """True: a small file over its base; False: a whole model."""
    trains: ClassVar[str]
    """A sentence: which numbers change."""
    servable_by: ClassVar[frozenset[str]]
    """Names of the engines that can answer with the result."""
    paper: ClassVar[str]
    """Where the method comes from."""
    rate: ClassVar[float]
    """Learning rate for a small set on a base of hidden size 576; `resolve_recipe` scales it."""

    def trained(self, hidden: int, layers: int, parameters: int) -> int:
        """How many numbers of such a base are trained."""
        raise NotImplementedError

    def resolved(self) -> Method:
        """The same knobs with every default filled in."""
        return self
