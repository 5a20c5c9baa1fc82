"""`POST /classify`, in vLLM's form: texts to the probabilities of their classes, a conversation to its score.

OpenAI has no such route. Knows no engine but by what it can do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator

from pumice.api.exchange import Exchange
from pumice.api.generation import unless_gone
from pumice.api.openai.chat import turn_of
from pumice.api.openai.events import keep, new_id, usage
from pumice.api.openai.refusals import Refusal
from pumice.api.openai.wire import Message, Prompts, Usage, Wire, conflict
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.bases.classifiers import classifies, read_labels
from pumice.errors import RequestError
from pumice.records import Example


class ClassifyRequest(Wire):
    """`POST /v1/classify`: `input` for a model that names classes, `messages` for one that scores answers."""

    model: str = Field(min_length=1)
    """A registered classifier."""
    input: Annotated[Prompts, Field(max_length=2048)] | None = None
    """A text, token ids, or a list of either."""
    messages: Annotated[list[Message], Field(min_length=2)] | None = None
    """One conversation that ends with the answer to be scored."""
    user: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.input is None) == (self.messages is None):
            raise conflict("input", "send 'input' to a model that names classes, 'messages' to one that scores answers")
        if self.messages and self.messages[-1].role != "assistant":
            raise conflict("messages", "the last of 'messages' must be the assistant's answer, which is what is scored")
        return self


class Classification(BaseModel):
    index: int
    label: str | None
    """The likeliest class; null for a model that gives a score."""
    probs: list[float]
    """One a class, in the order of the model's `id2label`; of a model without classes its one score."""
    num_classes: int


class Classifications(BaseModel):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Classification]
    usage: Usage


def router(platform: Platform) -> APIRouter:
    """The one route."""
    routes = APIRouter()

    @routes.post("/classify")
    async def classify(request: ClassifyRequest, http: Request) -> Classifications:
        """Name the classes of texts, in their order, or score one answer."""
        exchange = Exchange.of(http.scope)
        exchange.request = await http.json()
        return await unless_gone(http, answer(platform, exchange, request))

    return routes


async def answer(platform: Platform, exchange: Exchange, request: ClassifyRequest) -> Classifications:
    """What one request asked for. Raises `Refusal`, or a `PumiceError` for texts that have no class."""
    platform.admit(exchange)
    exchange.operation, exchange.asked = "classify", request.model

    def prepare() -> tuple[Served, tuple[str, ...], list[list[int]]]:
        served = platform.names.find(request.model)
        if not classifies(served.base.architecture):
            raise RequestError(
                f"{served.id} writes text; it neither names classes nor scores answers.",
                fix="Ask it at POST /v1/chat/completions, or train a classifier: method: head.",
                field="model",
                code="unsupported_model",
            )
        labels = read_labels(served.base.folder)
        return served, labels, texts(request, served, labels)

    served, labels, batch = await asyncio.to_thread(prepare)
    outside = next((token for ids in batch for token in ids if token >= served.base.vocabulary), None)
    if outside is not None:
        message = (
            f"Invalid 'input': token id {outside} is outside the model's vocabulary of {served.base.vocabulary:,}."
        )
        raise Refusal(400, message, param="input", code="invalid_value")
    exchange.model, exchange.input_tokens = served.id, sum(map(len, batch))
    engine = await platform.ready(served)
    with platform.metrics.generation(exchange):
        found = await engine.classify(batch)
    body = Classifications(
        id=new_id("classify"),
        created=int(time.time()),
        model=served.id,
        data=[classification(index, values, labels) for index, values in enumerate(found)],
        usage=usage(exchange),
    )
    keep(platform, exchange, body)
    return body


def texts(request: ClassifyRequest, served: Served, labels: Sequence[str]) -> list[list[int]]:
    """The ids of what is asked about, made as they were in training. Raises `RequestError` for the wrong field."""
    renderer = served.renderer
    if request.input is not None and labels:
        examples = [each if isinstance(each, list) else Example(1, text=each, label="?") for each in request.input]
        return [each if isinstance(each, list) else list(renderer.train(each).ids) for each in examples]
    if request.messages is not None and not labels:
        conversation = Example(1, tuple(turn_of(message) for message in request.messages), wanted=True)
        return [list(renderer.train(conversation).ids)]
    wrong, right = ("messages", "input") if labels else ("input", "messages")
    does = "names the classes of texts" if labels else "scores the last answer of a conversation"
    raise RequestError(f"{served.id} {does}.", fix=f"Send '{right}' instead of '{wrong}'.", field=wrong)


def classification(index: int, values: list[float], labels: Sequence[str]) -> Classification:
    """One text's result."""
    label = labels[max(range(len(labels)), key=values.__getitem__)] if labels else None
    return Classification(index=index, label=label, probs=values, num_classes=len(values))
