"""Converse and ConverseStream. Their messages in neutral words are `blocks`' work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from pumice.api.aws.runtime import blocks, guard
from pumice.api.aws.runtime.question import Question, refuse, sampled
from pumice.api.aws.runtime.reply import End, Reason, Reply, Whole, ask, streamed, whole
from pumice.api.aws.services import BEDROCK_RUNTIME
from pumice.api.aws.wire import Call
from pumice.engine import tools
from pumice.engine.contract import Constraint

REASONS: Mapping[Reason, str] = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop": "stop_sequence",
    "tool": "tool_use",
    "guardrail": "guardrail_intervened",
}
MORE = ("top_k", "topK", "seed")
"""What `additionalModelRequestFields` may hold; Nova's form, `inferenceConfig.topK`, too."""


@BEDROCK_RUNTIME.operation
async def converse(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a conversation."""
    done = await whole(call, await _begin(call, request))
    reply = done.reply
    answer = {
        "output": {"message": {"role": "assistant", "content": content(done)}},
        "stopReason": REASONS[done.end.reason],
        "usage": usage(reply),
        "metrics": {"latencyMs": reply.milliseconds()},
        **_more(request, done.end),
        **(reply.guard.trace() if reply.guard else {}),
        **_echoed(request),
    }
    call.exchange.response = answer
    return answer


@BEDROCK_RUNTIME.operation
async def converse_stream(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a conversation, piece by piece."""
    reply = await _begin(call, request)
    return {"stream": streamed(call, reply, _events(reply, request))}


def question(request: Mapping[str, Any]) -> Question:
    """What a request of Converse, or Nova's body, asks. Raises `AwsError`."""
    inference = request.get("inferenceConfig") or {}
    more = _additional(request.get("additionalModelRequestFields") or {})
    specs, choice = blocks.tools(request.get("toolConfig"))
    constraint = _form(request.get("outputConfig") or {})
    if specs and constraint:
        raise refuse("outputConfig.textFormat and toolConfig: an answer is held to one of them, so send one.")
    top_k = more.get("top_k", more.get("topK", inference.get("topK")))
    return Question(
        turns=blocks.turns(request),
        max_tokens=inference.get("maxTokens"),
        sampling=sampled(inference.get("temperature"), inference.get("topP"), top_k, more.get("seed")),
        stop=tuple(inference.get("stopSequences") or ()),
        tools=specs,
        choice=choice,
        constraint=constraint,
        guarded=blocks.guarded(request),
    )


def content(done: Whole) -> list[dict[str, Any]]:
    """The blocks of an answer; one without words or calls has one empty text."""
    called = [
        {"toolUse": {"toolUseId": each.id, "name": each.name, "input": json.loads(each.arguments)}}
        for each in done.calls
    ]
    return [{"text": done.text}, *called] if done.text or not called else called


def usage(reply: Reply) -> dict[str, int]:
    """Tokens so far."""
    asked, made = reply.exchange.input_tokens, reply.exchange.output_tokens
    return {"inputTokens": asked, "outputTokens": made, "totalTokens": asked + made}


async def message_events(reply: Reply) -> AsyncGenerator[dict[str, Any], None]:
    """The events up to `contentBlockStop`, then the `End` as `{"end": …}`."""
    yield {"messageStart": {"role": "assistant"}}
    index, open_ = 0, False
    async for event in reply.events:
        if isinstance(event, str):
            open_ = True
            yield {"contentBlockDelta": {"contentBlockIndex": index, "delta": {"text": event}}}
            continue
        if open_ or (isinstance(event, End) and index == 0):
            yield {"contentBlockStop": {"contentBlockIndex": index}}
            index, open_ = index + 1, False
        if isinstance(event, tools.Call):
            start = {"toolUse": {"toolUseId": event.id, "name": event.name}}
            yield {"contentBlockStart": {"contentBlockIndex": index, "start": start}}
            delta = {"toolUse": {"input": event.arguments}}
            yield {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}}
            yield {"contentBlockStop": {"contentBlockIndex": index}}
            index += 1
        else:
            yield {"end": event}


async def _events(reply: Reply, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    async for each in message_events(reply):
        if "end" not in each:
            yield each
            continue
        yield {"messageStop": {"stopReason": REASONS[each["end"].reason], **_more(request, each["end"])}}
        trace = reply.guard.trace() if reply.guard else {}
        metrics = {"latencyMs": reply.milliseconds()}
        yield {"metadata": {"usage": usage(reply), "metrics": metrics, **trace, **_echoed(request)}}


async def _begin(call: Call, request: dict[str, Any]) -> Reply:
    call.exchange.request = {key: value for key, value in request.items() if key != "modelId"}
    call.exchange.metadata = request.get("requestMetadata") or {}
    if request.get("promptVariables"):
        raise refuse("promptVariables: there are no stored prompts here; put the text into messages.")
    asked = question(request)
    rails = await asyncio.to_thread(guard.load, call.platform, request.get("guardrailConfig"))
    return await ask(call, request["modelId"], asked, rails)


def _additional(fields: Mapping[str, Any]) -> dict[str, Any]:
    nested = fields.get("inferenceConfig")
    found = {**(nested if isinstance(nested, dict) else {}), **fields}
    found.pop("inferenceConfig", None)
    for name, value in found.items():
        if name not in MORE:
            sentence = f"additionalModelRequestFields.{name}: models here know no such field."
            raise refuse(f"{sentence} They know {', '.join(MORE)}.")
        if type(value) is not int or value < 0:
            raise refuse(f"additionalModelRequestFields.{name}: {value!r} is no whole number from 0 on.")
    return found


def _form(config: Mapping[str, Any]) -> Constraint | None:
    if config.get("effort"):
        raise refuse("outputConfig.effort: models here have no levels of effort; leave it out.")
    if not (form := config.get("textFormat")):
        return None
    return Constraint("json_schema", form["structure"]["jsonSchema"]["schema"])


def _more(request: Mapping[str, Any], end: End) -> dict[str, Any]:
    """The one further field that an answer has: the stop sequence that ended it, where it was asked for."""
    wanted = "/stop_sequence" in (request.get("additionalModelResponseFieldPaths") or ())
    return {"additionalModelResponseFields": {"stop_sequence": end.stop}} if wanted and end.stop else {}


def _echoed(request: Mapping[str, Any]) -> dict[str, Any]:
    """What is accepted, changes nothing, and is told back."""
    return {key: request[key] for key in ("performanceConfig", "serviceTier") if key in request}
