"""Functions that a model may call, for every base: by its own template, or told in a system text. Knows no ids.

Where a template writes tools, calls and results in the form below, it does so itself. Everywhere else the
conversation is rewritten to plain turns of the same form before it is rendered, in training and in serving alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pumice.errors import InputError
from pumice.records import Turn

Render = Callable[[Sequence[Turn], Sequence[Any], bool], str]

CALL, END = "<tool_call>", "</tool_call>"
"""What stands around a call in an answer."""
_TOLD = """\
# Tools

You may call one or more functions. Their signatures:
<tools>
{signatures}
</tools>

To call a function, answer with its name and arguments as JSON:
<tool_call>
{{"name": "the function's name", "arguments": {{…}}}}
</tool_call>"""
_PROBE: dict[str, Any] = {
    "type": "function",
    "function": {"name": "probe_name", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
_ASKED: list[Turn] = [{"role": "user", "content": "u"}]
_CALLED: Turn = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "probe_name", "arguments": {}}}],
}


class Toolbox:
    """How one base is told of tools."""

    def __init__(self, render: Render) -> None:
        self.native = _writes_tools(render)
        """Whether the base's own template writes tools, and calls and results in this module's form."""
        self._system = bool(_rendered(render, [{"role": "system", "content": "s"}, *_ASKED], ()))

    def arrange(self, turns: Sequence[Turn], tools: Sequence[dict[str, Any]]) -> tuple[Sequence[Turn], Sequence[Any]]:
        """The turns and tools to render: unchanged where there is nothing of tools in them."""
        if not tools and not any(turn["role"] == "tool" or turn.get("tool_calls") for turn in turns):
            return turns, ()
        if self.native:
            return [_with_parsed_arguments(turn) for turn in turns], tools
        plain: list[Turn] = []
        for turn in turns:
            _add(plain, turn)
        if tools:
            self._tell(plain, tools)
        return plain, ()

    def _tell(self, turns: list[Turn], tools: Sequence[dict[str, Any]]) -> None:
        told = _TOLD.format(signatures="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
        # Some templates have no system turn; what would stand there goes before the first words of the user.
        role: Literal["system", "user"] = "system" if self._system else "user"
        if turns and turns[0]["role"] == role:
            first = turns[0]["content"]
            parts = (first, told) if self._system else (told, first)
            turns[0] = {**turns[0], "content": "\n\n".join(part for part in parts if part)}
        else:
            turns.insert(0, {"role": role, "content": told})


def _writes_tools(render: Render) -> bool:
    bare, told = _rendered(render, _ASKED, ()), _rendered(render, _ASKED, [_PROBE])
    if bare == told or "probe_name" not in told:
        return False
    answered = _rendered(render, [*_ASKED, _CALLED, {"role": "tool", "content": "probe_result"}], [_PROBE])
    return CALL in answered[len(told) :] and "probe_result" in answered


def _rendered(render: Render, turns: Sequence[Turn], tools: Sequence[Any]) -> str:
    """The text, "" where the template refuses."""
    try:
        return render(turns, tools, False)
    except InputError:
        return ""


def _with_parsed_arguments(turn: Turn) -> Turn:
    """Wires carry arguments as text; templates write them as JSON, and would quote that text."""
    if not turn.get("tool_calls"):
        return turn
    calls = [{**call, "function": {**call["function"], "arguments": _arguments(call)}} for call in turn["tool_calls"]]
    return {**turn, "tool_calls": calls}


def _arguments(call: dict[str, Any]) -> Any:
    given = call["function"].get("arguments") or {}
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return given


def _add(plain: list[Turn], turn: Turn) -> None:
    """Append the turn in plain words; results in a row are one turn of the user's."""
    if turn["role"] == "tool":
        text = f"<tool_response>\n{turn['content']}\n</tool_response>"
        if plain and plain[-1]["role"] == "user":
            plain[-1] = {"role": "user", "content": f"{plain[-1]['content']}\n{text}"}
        else:
            plain.append({"role": "user", "content": text})
        return
    if turn["role"] == "user" and plain and plain[-1]["content"].endswith("</tool_response>"):
        plain[-1] = {"role": "user", "content": f"{plain[-1]['content']}\n{turn['content']}"}
        return
    calls = [written(call["function"]["name"], _arguments(call)) for call in turn.get("tool_calls") or ()]
    content = "\n".join(part for part in (turn["content"] or "", *calls) if part)
    plain.append({"role": turn["role"], "content": content if calls else turn["content"]})


def written(name: str, arguments: Any) -> str:
    """A call as a model writes it."""
    return f"{CALL}\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n{END}"
