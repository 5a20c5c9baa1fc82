"""CountTokens: what a request would be counted as, without asking a model."""

from __future__ import annotations

from typing import Any

from pumice.api.aws import targets
from pumice.api.aws.runtime import converse, families
from pumice.api.aws.runtime.families import titan_embed
from pumice.api.aws.runtime.families.form import load
from pumice.api.aws.runtime.question import ids
from pumice.api.aws.services import BEDROCK_RUNTIME
from pumice.api.aws.wire import Call


@BEDROCK_RUNTIME.operation
def count_tokens(call: Call, request: dict[str, Any]) -> dict[str, int]:
    """The tokens of a request's prompt, as an answer to it would report them."""
    model_id, given = request["modelId"], request["input"]
    call.exchange.asked = model_id
    if "invokeModel" not in given:
        served = targets.find(call.platform, model_id)
        call.exchange.model = served.id
        return {"inputTokens": len(ids(converse.question(given["converse"]), served))}
    body = load(given["invokeModel"]["body"])
    if base := targets.find_embedder(call.platform, model_id):
        return {"inputTokens": titan_embed.count(base, body)}
    served = targets.find(call.platform, model_id)
    call.exchange.model = served.id
    return {"inputTokens": len(ids(families.choose(body, served.base.name).read(body), served))}
