"""Amazon Titan Embeddings' body: a text and its vector."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pumice.api.aws.runtime.families.form import Form
from pumice.api.aws.runtime.question import refuse
from pumice.api.aws.wire import Call
from pumice.data.render import Reader
from pumice.records import Base

NAME = "Titan embeddings"


class Body(Form):
    text: str = Field(alias="inputText", min_length=1)
    dimensions: int | None = None
    normalize: bool = True
    types: list[Literal["float"]] = Field(["float"], alias="embeddingTypes")


async def embed(call: Call, base: Base, body: dict[str, Any]) -> dict[str, Any]:
    """The vector of a text. Raises `AwsError` for what this base cannot give."""
    asked = _read(body, base)
    ids = (await asyncio.to_thread(_reader, base.folder)).encode(asked.text)
    if len(ids) > base.window:
        raise refuse(f"inputText: {base.name} reads {base.window:,} tokens at once; the text has {len(ids):,}.")
    call.platform.admit(call.exchange)
    call.exchange.model, call.exchange.input_tokens = base.name, len(ids)
    engine = await call.platform.pool.embedder(base.folder)
    (vector,) = await engine.embed([ids])
    return {"embedding": vector, "embeddingsByType": {"float": vector}, "inputTextTokenCount": len(ids)}


def count(base: Base, body: dict[str, Any]) -> int:
    """Tokens of the text. Blocks."""
    return len(_reader(base.folder).encode(_read(body, base).text))


def _read(body: dict[str, Any], base: Base) -> Body:
    try:
        asked = Body.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        keys = ", ".join(field.alias or name for name, field in Body.model_fields.items())
        place = ".".join(map(str, first["loc"]))
        raise refuse(f"{place}: {first['msg']}; a body of {NAME} has {keys}.") from error
    if asked.dimensions not in (None, base.hidden_size):
        raise refuse(f"dimensions: the vectors of {base.name} have {base.hidden_size} numbers, no other count.")
    if not asked.normalize:
        raise refuse(f"normalize: the vectors of {base.name} have length 1 always; leave it out.")
    return asked


@lru_cache(maxsize=4)
def _reader(folder: Path) -> Reader:
    return Reader(folder)
