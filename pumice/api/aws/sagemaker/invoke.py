"""InvokeEndpoint: a body goes to the variant or component that is named, or drawn by weight, and its answer comes back.

Two bodies are read, as AWS's own containers for language models read them: `{"inputs", "parameters"}` and OpenAI's
`{"messages"}`. Answers come in the same form.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pumice.api.aws.errors import AwsError
from pumice.api.aws.sagemaker import kept
from pumice.api.aws.services import SAGEMAKER_RUNTIME
from pumice.api.aws.wire import Call
from pumice.api.generation import Answering, begin, room, unless_gone
from pumice.api.platform import Platform
from pumice.api.served import Served
from pumice.engine.answer import Ask
from pumice.engine.contract import Sampling
from pumice.errors import PumiceError
from pumice.records import Turn
from pumice.traffic.variants import choose

DICE = random.Random()
JSON = "application/json"
MOST_STOPS = 2_500
"""Stop strings of a request: each is looked for in every piece of an answer."""


class Parameters(BaseModel):
    """How to answer, in the words of Hugging Face's containers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_new_tokens: int = Field(256, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, ge=0, le=1)
    do_sample: bool = False
    """Greedy unless this, a temperature or a top_p is given, as those containers have it."""
    seed: int | None = None
    stop: list[str] = Field([], max_length=MOST_STOPS)
    return_full_text: bool = False
    details: bool = False


class Text(BaseModel):
    """`{"inputs": "…"}`: a text that goes on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str
    parameters: Parameters = Parameters()
    stream: bool = False
    """Accepted; the operation decides."""


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: str = Field(pattern="^(system|user|assistant)$")
    content: str


class Chat(BaseModel):
    """`{"messages": […]}`: a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    messages: list[Message] = Field(min_length=1)
    model: str | None = None
    """Accepted; the endpoint decides."""
    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    seed: int | None = None
    stop: list[str] = Field([], max_length=MOST_STOPS)
    stream: bool = False
    """Accepted; the operation decides."""


Body = Text | Chat


@SAGEMAKER_RUNTIME.operation
async def invoke_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The whole answer."""
    body = _read(call, request)
    answering, variant = await unless_gone(call.http, _begin(call, request, body))
    (choice,) = await unless_gone(call.http, answering.whole())
    exchange = call.exchange
    if isinstance(body, Text):
        text = body.inputs + choice.text if body.parameters.return_full_text else choice.text
        details = {"finish_reason": choice.finish, "generated_tokens": exchange.output_tokens}
        told: Any = [{"generated_text": text, **({"details": details} if body.parameters.details else {})}]
    else:
        message = {"role": "assistant", "content": choice.text}
        told = {
            "id": exchange.id,
            "object": "chat.completion",
            "model": exchange.model,
            "choices": [{"index": 0, "message": message, "finish_reason": choice.finish}],
            "usage": _usage(call),
        }
    exchange.response = told
    return {"Body": json.dumps(told).encode(), "ContentType": JSON, "InvokedProductionVariant": variant}


@SAGEMAKER_RUNTIME.operation
async def invoke_endpoint_with_response_stream(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The answer as it comes: lines of server-sent events, as the containers stream them."""
    body = _read(call, request)
    answering, variant = await unless_gone(call.http, _begin(call, request, body))
    lines = (_texts if isinstance(body, Text) else _chunks)(call, answering)
    first = await unless_gone(call.http, anext(lines))
    return {"Body": _parts(first, lines), "ContentType": "text/event-stream", "InvokedProductionVariant": variant}


def _read(call: Call, request: Mapping[str, Any]) -> Body:
    call.exchange.asked = request["EndpointName"]
    try:
        given = orjson.loads(request["Body"])
    except ValueError as error:
        raise AwsError("ValidationError", f"Body is no JSON: {error}.") from error
    call.exchange.request = given
    kind: type[Text] | type[Chat] | None = None
    if isinstance(given, dict):
        kind = Text if "inputs" in given else Chat if "messages" in given else None
    if kind is None:
        raise AwsError("ValidationError", 'Body must be {"inputs": "…", "parameters": {…}} or {"messages": […]}.')
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise AwsError("ValidationError", f"Body.{place}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from error


async def _begin(call: Call, request: Mapping[str, Any], body: Body) -> tuple[Answering, str]:
    name, variant = await asyncio.to_thread(_target, call.platform, request)
    ask = partial(_text_ask, body) if isinstance(body, Text) else partial(_chat_ask, body)
    answering = await begin(call.platform, call.exchange, partial(call.platform.names.find, name), ask)
    call.exchange.variant = variant
    return answering, variant


def _target(platform: Platform, request: Mapping[str, Any]) -> tuple[str, str]:
    """The model that is to answer and the name of its variant."""
    endpoint = kept.get(platform, "endpoint", request["EndpointName"], "ValidationError")
    if component := request.get("InferenceComponentName"):
        found = kept.get(platform, "inference-component", component, "ValidationError")
        if found.body["endpoint"] != endpoint.name or found.body["status"] != "InService":
            raise AwsError("ValidationError", f"Inference component {component} is not in service on {endpoint.name}.")
        return found.body["served"], found.body["request"].get("VariantName", "AllTraffic")
    if endpoint.body["status"] not in ("InService", "Updating"):
        raise AwsError("ValidationError", f"Endpoint {endpoint.name} is {endpoint.body['status']}; wait for InService.")
    variants = {name: each for name, each in endpoint.body["variants"].items() if each["served"]}
    if not variants:
        raise AwsError("ValidationError", f"{endpoint.name} serves inference components: name one.")
    name = request.get("TargetVariant") or choose({name: each["weight"] for name, each in variants.items()}, DICE)
    if name not in variants:
        raise AwsError(
            "ValidationError", f"TargetVariant {name!r} is none of {endpoint.name}'s: {', '.join(variants)}."
        )
    return variants[name]["served"], name


def _text_ask(body: Text, served: Served) -> list[Ask]:
    given = body.parameters
    ids = served.renderer.encode(body.inputs) or list(served.renderer.stop_ids[:1])
    chosen = given.do_sample or given.temperature is not None or given.top_p is not None
    sampling = Sampling(
        max_tokens=min(given.max_new_tokens, room(served, ids, "inputs")),
        temperature=(1.0 if given.temperature is None else given.temperature) if chosen else 0.0,
        top_p=1.0 if given.top_p is None else given.top_p,
        seed=given.seed,
    )
    return [Ask(ids, sampling, stop=tuple(given.stop))]


def _chat_ask(body: Chat, served: Served) -> list[Ask]:
    turns: list[Turn] = [{"role": each.role, "content": each.content} for each in body.messages]  # type: ignore[typeddict-item]
    ids = served.renderer.prompt(turns)
    most = min(body.max_tokens, room(served, ids, "messages"))
    sampling = Sampling(max_tokens=most, temperature=body.temperature, top_p=body.top_p, seed=body.seed)
    return [Ask(ids, sampling, stop=tuple(body.stop))]


async def _texts(call: Call, answering: Answering) -> AsyncGenerator[str, None]:
    whole = ""
    async with aclosing(answering.pieces()) as pieces:
        async for _, piece in pieces:
            whole += piece.text
            last = {"generated_text": whole, "details": {"finish_reason": piece.finish}} if piece.finish else {}
            yield _event({"token": {"text": piece.text}, **last})
    call.exchange.response = [{"generated_text": whole}]


async def _chunks(call: Call, answering: Answering) -> AsyncGenerator[str, None]:
    head = {"id": call.exchange.id, "object": "chat.completion.chunk", "model": call.exchange.model}
    whole = ""
    async with aclosing(answering.pieces()) as pieces:
        async for _, piece in pieces:
            whole += piece.text
            choice = {"index": 0, "delta": {"content": piece.text}, "finish_reason": piece.finish}
            yield _event({**head, "choices": [choice]})
    yield _event({**head, "choices": [], "usage": _usage(call)})
    call.exchange.response = {"choices": [{"message": {"role": "assistant", "content": whole}}]}
    yield "data: [DONE]\n\n"


async def _parts(first: str, rest: AsyncGenerator[str, None]) -> AsyncIterator[dict[str, Any]]:
    async with aclosing(rest):
        yield {"PayloadPart": {"Bytes": first.encode()}}
        try:
            async for line in rest:
                yield {"PayloadPart": {"Bytes": line.encode()}}
        except PumiceError as error:
            # The status has been sent; this is what a stream has for it.
            raise AwsError("ModelStreamError", " ".join(str(error).split())) from error


def _usage(call: Call) -> dict[str, int]:
    asked, made = call.exchange.input_tokens, call.exchange.output_tokens
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
