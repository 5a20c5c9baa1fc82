"""Bodies of InvokeModel, one file a family of models, and which of them a body is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pumice.api.aws.runtime.families import claude, llama, mistral, nova, openai, titan
from pumice.api.aws.runtime.families.form import Family
from pumice.api.aws.runtime.question import refuse

ALL: Sequence[Family] = (
    llama.FAMILY, mistral.TEXT, mistral.CHAT, titan.FAMILY, nova.FAMILY, claude.FAMILY, openai.FAMILY,
)  # fmt: skip
# Keys that one family alone has.
_MARKS: Mapping[str, Family] = {
    "inputText": titan.FAMILY,
    "anthropic_version": claude.FAMILY,
    "schemaVersion": nova.FAMILY,
    "inferenceConfig": nova.FAMILY,
    "max_gen_len": llama.FAMILY,
}


def choose(body: Mapping[str, Any], base: str) -> Family:
    """The family of a body, by its own keys, and where they do not tell by the base's name. Raises `AwsError`."""
    if found := next((family for mark, family in _MARKS.items() if mark in body), None):
        return found
    of_mistral = "mistral" in base.lower()
    if "prompt" in body:
        return mistral.TEXT if of_mistral or {"max_tokens", "stop", "top_k"} & body.keys() else llama.FAMILY
    if "messages" in body:
        if nova.speaks(body["messages"]):
            return nova.FAMILY
        return mistral.CHAT if of_mistral else openai.FAMILY
    known = "; ".join(f"{family.name}: {', '.join(family.keys())}" for family in ALL)
    raise refuse(f"The body has no key that tells its family. {known}.")
