"""Messages in OpenAI's form, which Mistral's chat body has as well. Knows no body."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pumice.api.aws.runtime.families.form import Form
from pumice.api.aws.runtime.question import assistant, check_turns, refuse
from pumice.engine import tools
from pumice.engine.tools import Choice, Tool
from pumice.records import Turn


def _as_text(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if any(not isinstance(part, dict) or not isinstance(part.get("text"), str) for part in value):
        raise ValueError("a part of the content must be {'type': 'text', 'text': …}; this model reads text")
    return "".join(part["text"] for part in value)


class CalledFunction(Form):
    name: str
    arguments: str


class Called(Form):
    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Form):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_as_text)] = None
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class Function(Form):
    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class FunctionTool(Form):
    type: Literal["function"] = "function"
    function: Function


class Named(Form):
    name: str


class NamedTool(Form):
    type: Literal["function"] = "function"
    function: Named


Chosen = Literal["none", "auto", "any", "required"] | NamedTool | None


def turns(messages: Sequence[Message]) -> tuple[Turn, ...]:
    """The conversation."""
    return check_turns(tuple(_turn(each, at) for at, each in enumerate(messages)), "messages")


def chosen(
    given: Sequence[FunctionTool] | None, choice: Chosen, parallel: bool = True
) -> tuple[tuple[Tool, ...], Choice]:
    """The tools that may be called: none of them where the choice is `none`."""
    if choice == "none":
        return (), Choice()
    found = [Tool(each.function.name, each.function.description, each.function.parameters) for each in given or ()]
    name = choice.function.name if isinstance(choice, NamedTool) else None
    return tuple(found), Choice(choice in ("any", "required"), name, parallel)


def called(calls: Sequence[tools.Call]) -> list[dict[str, Any]]:
    """Calls as an answer tells them."""
    return [
        {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
        for each in calls
    ]


def _turn(message: Message, at: int) -> Turn:
    text = message.content or ""
    if message.role == "assistant":
        return assistant(text, [_call(each, at) for each in message.tool_calls or ()])
    if message.role == "developer":
        return {"role": "system", "content": text}
    return {"role": message.role, "content": text}


def _call(call: Called, at: int) -> tuple[str, str, dict[str, Any]]:
    try:
        arguments = json.loads(call.function.arguments)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise refuse(f"messages.{at}.tool_calls: the arguments of {call.function.name} are no JSON object.")
    return call.id, call.function.name, arguments
