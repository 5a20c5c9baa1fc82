"""What every family of bodies is made of, and how a body is read. Knows no family."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from pumice.api.aws.runtime.question import Question, refuse
from pumice.api.aws.runtime.reply import Reply, Whole

Chunks = AsyncGenerator[dict[str, Any], None]


class Form(BaseModel):
    """A body, or a part of one. Types are taken at their word, and keys that are not declared are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Family:
    """How models of one maker are asked and answer."""

    name: str
    form: type[Form]
    question: Callable[[Any], Question]
    """What a body asks."""
    whole: Callable[[Whole], dict[str, Any]]
    """A complete answer."""
    chunks: Callable[[Reply], Chunks]
    """The chunks of an answer as it comes, the last with the metrics."""

    def keys(self) -> list[str]:
        """What its body may have."""
        return [field.alias or name for name, field in self.form.model_fields.items()]

    def read(self, body: Mapping[str, Any]) -> Question:
        """What a body asks. Raises `AwsError` naming the key at fault."""
        try:
            return self.question(self.form.model_validate(body))
        except ValidationError as error:
            raise refuse(self._explain(error)) from error

    def _explain(self, error: ValidationError) -> str:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] != "extra_forbidden":
            return f"{place}: {first['msg']}, in a body of {self.name}."
        if len(first["loc"]) > 1:
            return f"{place}: a body of {self.name} has no such key."
        return f"{place}: a body of {self.name} has no such key; it has {', '.join(self.keys())}."


def load(body: bytes) -> dict[str, Any]:
    """A body as JSON. Raises `AwsError` for what is no object."""
    try:
        found = orjson.loads(body)
    except ValueError as error:
        raise refuse(f"The body is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise refuse("The body is no JSON object.")
    return found
