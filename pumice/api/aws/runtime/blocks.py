"""Bedrock's content blocks to turns, as Converse and Nova's body have them. Knows no operation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pumice.api.aws.runtime.question import assistant, check_turns, refuse
from pumice.engine.tools import Choice, Tool
from pumice.records import Turn

_READ = "text, toolUse, toolResult, guardContent and cachePoint"


def turns(request: Mapping[str, Any]) -> tuple[Turn, ...]:
    """`system` and `messages`. Raises `AwsError` for a block that no text model reads."""
    found: list[Turn] = []
    system = [_text(block, f"system[{at}]") for at, block in enumerate(request.get("system") or ())]
    if system:
        found.append({"role": "system", "content": "".join(system)})
    for at, message in enumerate(request.get("messages") or ()):
        found += _turns(message, f"messages[{at}]")
    return check_turns(tuple(found), "messages")


def guarded(request: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The texts that are marked for the guardrail, None when none is."""
    messages = [block for message in request.get("messages") or () for block in message["content"]]
    marked = [_text(block, "guardContent") for block in messages if "guardContent" in block]
    return tuple(marked) or None


def tools(config: Mapping[str, Any] | None) -> tuple[tuple[Tool, ...], Choice]:
    """A `toolConfig`."""
    specs = []
    for at, each in enumerate((config or {}).get("tools", ())):
        if "cachePoint" in each:
            continue
        if "toolSpec" not in each:
            raise refuse(f"toolConfig.tools[{at}].{next(iter(each))}: only a toolSpec is a tool here.")
        spec = each["toolSpec"]
        schema = spec["inputSchema"].get("json", {})
        specs.append(Tool(spec["name"], spec.get("description", ""), schema))
    chosen = (config or {}).get("toolChoice") or {"auto": {}}
    return tuple(specs), Choice(required="any" in chosen, name=chosen.get("tool", {}).get("name"))


def _turns(message: Mapping[str, Any], place: str) -> Iterator[Turn]:
    text: list[str] = []
    calls: list[tuple[str, str, Mapping[str, Any]]] = []
    for at, block in enumerate(message["content"]):
        where = f"{place}.content[{at}]"
        if "toolUse" in block:
            use = block["toolUse"]
            calls.append((use["toolUseId"], use["name"], use["input"]))
        elif "toolResult" in block:
            yield {"role": "tool", "content": _result(block["toolResult"], f"{where}.toolResult")}
        else:
            text.append(_text(block, where))
    if message["role"] == "assistant":
        yield assistant("".join(text), calls)
    elif calls:
        raise refuse(f"{place}: a toolUse stands in a message of the assistant, not of the {message['role']}.")
    elif text:
        yield {"role": message["role"], "content": "".join(text)}


def _result(result: Mapping[str, Any], place: str) -> str:
    parts = []
    for at, block in enumerate(result["content"]):
        if "json" in block:
            parts.append(json.dumps(block["json"], ensure_ascii=False))
        elif "text" in block:
            parts.append(block["text"])
        else:
            raise _unread(block, f"{place}.content[{at}]", "text and json")
    return "\n".join(parts)


def _text(block: Mapping[str, Any], place: str) -> str:
    if "cachePoint" in block:
        return ""  # what is cached changes no answer
    if "text" in block:
        return str(block["text"])
    if "text" in block.get("guardContent", {}):
        return str(block["guardContent"]["text"]["text"])
    raise _unread(block, place, _READ)


def _unread(block: Mapping[str, Any], place: str, known: str) -> Exception:
    kind: Sequence[str] = list(block) or ["nothing"]
    return refuse(f"{place}.{kind[0]}: this model reads text; its blocks are {known}.")
