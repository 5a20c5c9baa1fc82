"""InvokeModel and InvokeModelWithResponseStream: bodies in the form of each model's maker. Knows none of the forms."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pumice.api.aws import targets
from pumice.api.aws.runtime import families, guard
from pumice.api.aws.runtime.families import titan_embed
from pumice.api.aws.runtime.families.form import Family, load
from pumice.api.aws.runtime.question import refuse
from pumice.api.aws.runtime.reply import Reply, ask, streamed, whole
from pumice.api.aws.services import BEDROCK_RUNTIME
from pumice.api.aws.wire import Call
from pumice.records import Base

JSON = "application/json"


@BEDROCK_RUNTIME.operation
async def invoke_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a body whole."""
    body, embedder = await _read(call, request)
    if embedder:
        answer = await titan_embed.embed(call, embedder, body)
    else:
        family, reply = await _begin(call, request, body)
        answer = family.whole(await whole(call, reply)) | reply.judged()
    call.exchange.response = answer
    call.headers.update(
        {
            "X-Amzn-Bedrock-Input-Token-Count": str(call.exchange.input_tokens),
            "X-Amzn-Bedrock-Output-Token-Count": str(call.exchange.output_tokens),
            "X-Amzn-Bedrock-Invocation-Latency": str(round(call.exchange.seconds() * 1000)),
        }
    )
    return {"body": _bytes(answer), "contentType": JSON, **_echoed(request)}


@BEDROCK_RUNTIME.operation
async def invoke_model_with_response_stream(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a body in chunks."""
    body, embedder = await _read(call, request)
    if embedder:
        raise refuse(f"{request['modelId']} makes vectors, which come whole: use InvokeModel.")
    family, reply = await _begin(call, request, body)
    stream = streamed(call, reply, family.chunks(reply), lambda chunk: {"chunk": {"bytes": _bytes(chunk)}})
    return {"body": stream, "contentType": JSON, **_echoed(request)}


async def _read(call: Call, request: dict[str, Any]) -> tuple[dict[str, Any], Base | None]:
    """The body, and the base that makes vectors of it if the model is one."""
    body = load(request.get("body", b""))
    call.exchange.request, call.exchange.asked = body, request["modelId"]
    call.exchange.metadata = _metadata(request.get("requestMetadata"))
    return body, await asyncio.to_thread(targets.find_embedder, call.platform, request["modelId"])


async def _begin(call: Call, request: dict[str, Any], body: dict[str, Any]) -> tuple[Family, Reply]:
    served = await asyncio.to_thread(targets.find, call.platform, request["modelId"])
    family = families.choose(body, served.base.name)
    config: dict[str, Any] = {
        key: request[key] for key in ("guardrailIdentifier", "guardrailVersion") if key in request
    }
    if config and "trace" in request:
        config["trace"] = request["trace"]
    rails = await asyncio.to_thread(guard.load, call.platform, config)
    return family, await ask(call, request["modelId"], family.read(body), rails)


def _metadata(text: str | None) -> dict[str, str]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise refuse("requestMetadata: it is a JSON object of texts.")
    return found


def _echoed(request: dict[str, Any]) -> dict[str, Any]:
    return {key: request[key] for key in ("performanceConfigLatency", "serviceTier") if key in request}


def _bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
