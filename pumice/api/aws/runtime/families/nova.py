"""Amazon Nova's body, `messages-v1`: Converse's words, checked with Converse's own shape."""

from __future__ import annotations

from typing import Any

from botocore.validate import ParamValidator
from pydantic import Field

from pumice.api.aws.runtime import converse
from pumice.api.aws.runtime.families.form import Chunks, Family, Form
from pumice.api.aws.runtime.question import Question, refuse
from pumice.api.aws.runtime.reply import Reply, Whole
from pumice.api.aws.services import BEDROCK_RUNTIME


class Body(Form):
    messages: list[dict[str, Any]]
    system: list[dict[str, Any]] = Field([])
    inferenceConfig: dict[str, Any] = Field({})
    toolConfig: dict[str, Any] | None = None
    schemaVersion: str = "messages-v1"


def speaks(messages: Any) -> bool:
    """Whether messages are in Nova's form, whose blocks have no `type`."""
    contents = (
        [each.get("content") for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    )
    return any(isinstance(block, dict) and "type" not in block for each in contents if each for block in each)


def question(body: Body) -> Question:
    """What it asks."""
    if body.schemaVersion != "messages-v1":
        raise refuse(f"schemaVersion: {body.schemaVersion!r} is not known; Nova's body is messages-v1.")
    inference = dict(body.inferenceConfig)
    if "max_new_tokens" in inference:
        inference["maxTokens"] = inference.pop("max_new_tokens")
    top_k = inference.pop("topK", None)
    if top_k is not None and (type(top_k) is not int or top_k < 0):
        raise refuse(f"inferenceConfig.topK: {top_k!r} is no whole number from 0 on.")
    request = {"modelId": "nova", "messages": body.messages, "system": body.system, "inferenceConfig": inference}
    if body.toolConfig:
        request["toolConfig"] = body.toolConfig
    report = ParamValidator().validate(request, BEDROCK_RUNTIME.model.shape_for("ConverseRequest"))
    if report.has_errors():
        raise refuse(" ".join(report.generate_report().split()))
    return converse.question({**request, "inferenceConfig": {**inference, "topK": top_k}})


def whole(done: Whole) -> dict[str, Any]:
    """A complete answer."""
    message = {"content": converse.content(done), "role": "assistant"}
    reason = converse.REASONS[done.end.reason]
    return {"output": {"message": message}, "stopReason": reason, "usage": _usage(done.reply)}


async def chunks(reply: Reply) -> Chunks:
    """An answer as it comes."""
    async for each in converse.message_events(reply):
        if "end" in each:
            yield {"messageStop": {"stopReason": converse.REASONS[each["end"].reason]}}
            yield {"metadata": {"usage": _usage(reply), "metrics": {}, "trace": {}}, **reply.metrics()}
        else:
            yield each


def _usage(reply: Reply) -> dict[str, int]:
    return {**converse.usage(reply), "cacheReadInputTokenCount": 0, "cacheWriteInputTokenCount": 0}


FAMILY = Family("Nova", Body, question, whole, chunks)
