"""`POST /embeddings`: texts, or token ids, become vectors of length 1. Adapters are no part of it: bases read."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pumice.api.exchange import Exchange
from pumice.api.generation import unless_gone
from pumice.api.openai.events import keep
from pumice.api.openai.refusals import Refusal
from pumice.api.openai.wire import Prompts, Wire
from pumice.api.platform import Platform
from pumice.bases import resolve
from pumice.bases.classifiers import check_writes
from pumice.data.render.reader import Reader
from pumice.records import Base


class EmbeddingRequest(Wire):
    """`POST /v1/embeddings`."""

    model: str = Field(min_length=1)
    """`all-minilm-l6-v2`, or a base or whole fine-tune that answers, of whose tokens the mean is taken."""
    input: Annotated[Prompts, Field(max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    """Only the model's own number."""
    user: str | None = None


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter()

    @routes.post("/embeddings")
    async def embed(request: EmbeddingRequest, http: Request) -> Embeddings:
        """Turn texts into vectors, in their order."""
        exchange = Exchange.of(http.scope)
        exchange.request = await http.json()
        return await unless_gone(http, answer(platform, exchange, request))

    return routes


async def answer(platform: Platform, exchange: Exchange, request: EmbeddingRequest) -> Embeddings:
    """The vectors of one request. Raises `Refusal`, or a `PumiceError` for texts that have none."""
    platform.admit(exchange)
    exchange.operation, exchange.asked = "embeddings", request.model

    def prepare() -> tuple[Base, list[list[int]]]:
        base = _base(platform, request.model)
        if request.dimensions not in (None, base.hidden_size):
            message = f"'dimensions' is not supported: the vectors of {request.model} have {base.hidden_size} numbers."
            raise Refusal(400, message, param="dimensions", code="unsupported_parameter")
        reader = Reader(base.folder)
        return base, [reader.encode(each) if isinstance(each, str) else each for each in request.input]

    base, batch = await asyncio.to_thread(prepare)
    outside = next((token for ids in batch for token in ids if token >= base.vocabulary), None)
    if outside is not None:
        message = f"Invalid 'input': token id {outside} is outside the model's vocabulary of {base.vocabulary:,}."
        raise Refusal(400, message, param="input", code="invalid_value")
    exchange.model, exchange.input_tokens = request.model, sum(map(len, batch))
    engine = await platform.pool.embedder(base.folder)
    with platform.metrics.generation(exchange):
        vectors = await engine.embed(batch)
    body = Embeddings(
        data=[
            Embedding(index=index, embedding=_packed(vector) if request.encoding_format == "base64" else vector)
            for index, vector in enumerate(vectors)
        ],
        model=request.model,
        usage=EmbeddingUsage(prompt_tokens=exchange.input_tokens, total_tokens=exchange.input_tokens),
    )
    keep(platform, exchange, body)
    return body


def _base(platform: Platform, name: str) -> Base:
    if name == resolve.EMBEDDER:
        return resolve.resolve(name, platform.home)
    served = platform.names.find(name)
    check_writes(served.base, served.id)
    if served.adapter:
        message = f"{served.id} is an adapter, which has no vectors of its own; ask its base {served.base.name!r}."
        raise Refusal(400, message, param="model", code="unsupported_model")
    return served.base


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
