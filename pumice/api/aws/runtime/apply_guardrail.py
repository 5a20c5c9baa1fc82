"""ApplyGuardrail: a guardrail over texts, without a model."""

from __future__ import annotations

from typing import Any

from pumice.api.aws.bedrock.guardrails import find
from pumice.api.aws.runtime.guard import Guard, Side
from pumice.api.aws.runtime.question import refuse
from pumice.api.aws.services import BEDROCK_RUNTIME
from pumice.api.aws.wire import Call


@BEDROCK_RUNTIME.operation
def apply_guardrail(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """What a guardrail says of texts, and the texts as they may be shown."""
    document = find(call.platform, request["guardrailIdentifier"], request["guardrailVersion"])
    guard, side = Guard(document.body), _side(request)
    call.exchange.asked = call.exchange.model = guard.id
    texts = [_text(each, at) for at, each in enumerate(request["content"])]
    checked = [guard.check(side, text) for text in texts]
    characters = sum(map(len, texts))
    outputs: list[dict[str, str]] = []
    if any(each.blocked for each in checked):
        outputs = [{"text": guard.blocked_input if side == "input" else guard.blocked_output}]
    elif guard.intervened:
        outputs = [{"text": each.text} for each in checked]
    answer = {
        "usage": guard.usage(characters),
        "action": "GUARDRAIL_INTERVENED" if guard.intervened else "NONE",
        "outputs": outputs,
        "assessments": guard.assessments(side),
        "guardrailCoverage": {"textCharacters": {"guarded": characters, "total": characters}},
    }
    call.exchange.request = {"source": request["source"], "content": [{"text": {"text": text}} for text in texts]}
    call.exchange.response = answer
    return answer


def _side(request: dict[str, Any]) -> Side:
    return "input" if request["source"] == "INPUT" else "output"


def _text(content: dict[str, Any], at: int) -> str:
    if "text" not in content:
        raise refuse(f"content[{at}].{next(iter(content))}: a guardrail here reads text only.")
    return str(content["text"]["text"])
