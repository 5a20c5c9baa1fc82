"""The Responses API through the official client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from live_server import Live
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage

ASKED: dict[str, Any] = {"input": "Count from 1 to 12.", "max_output_tokens": 8, "temperature": 0}
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"day": {"enum": ["today", "tomorrow"]}}, "required": ["day"]},
}


def ask(live: Live, **more: Any) -> Any:
    return live.client.responses.create(**{"model": live.base.name, **ASKED, **more})


def said(live: Live, messages: list[dict[str, Any]]) -> str | None:
    answer = live.client.chat.completions.create(
        model=live.base.name,
        messages=messages,  # type: ignore[arg-type]
        max_tokens=8,
        temperature=0,
    )
    return answer.choices[0].message.content


def test_it_says_what_chat_says(live: Live) -> None:
    found = ask(live, instructions="Be brief.", metadata={"team": "blue"}, store=False)
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Count from 1 to 12."}]
    assert found.output_text == said(live, asked)
    assert (found.model, found.object, found.instructions) == (live.base.name, "response", "Be brief.")
    assert found.usage.input_tokens + found.usage.output_tokens == found.usage.total_tokens
    assert 0 < found.usage.output_tokens <= 8
    assert found.metadata == {"team": "blue"}


def test_a_conversation_goes_on_with_what_came_back(live: Live) -> None:
    first = ask(live)
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Count from 1 to 12."}]},
        *first.output,
        {"role": "user", "content": "Another one."},
    ]
    asked = [
        {"role": "user", "content": "Count from 1 to 12."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "Another one."},
    ]
    assert ask(live, input=items).output_text == said(live, asked)


def test_an_answer_that_is_cut_off_says_so(live: Live) -> None:
    found = ask(live, input="Count to a hundred.", max_output_tokens=2)
    assert found.status == "incomplete"
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.usage.output_tokens == 2


def test_a_stream_tells_the_same_in_order(live: Live) -> None:
    whole = ask(live)
    with live.client.responses.stream(model=live.base.name, **ASKED) as stream:
        events: list[Any] = list(stream)
        last = stream.get_final_response() if events[-1].type == "response.completed" else None
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"]
    assert kinds[-1] == whole.status
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text
    assert events[-1].response.usage == whole.usage
    assert last is None or last.output_text == text


def test_raw_events_have_their_names_and_no_other_end(live: Live) -> None:
    body = {"model": live.base.name, "stream": True, **ASKED}
    with live.client.responses.with_streaming_response.create(**body) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[0] == "event: response.created"
    assert json.loads(lines[-1].removeprefix("data: "))["type"] in ("response.completed", "response.incomplete")


def test_functions_are_called_and_their_results_read(live: Live) -> None:
    asked = {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}, "max_output_tokens": 60}
    found = ask(live, **asked)
    [call] = found.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert call.name == "weather"
    assert json.loads(call.arguments)["day"] in ("today", "tomorrow")
    assert found.tool_choice.name == "weather"
    events = list(ask(live, stream=True, **asked))
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert done.arguments == call.arguments
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    after = ask(live, input=[{"role": "user", "content": "The weather?"}, call, result], tools=[WEATHER])
    assert isinstance(after.output[0], ResponseOutputMessage | ResponseFunctionToolCall)
    assert after.usage.input_tokens > found.usage.input_tokens


def test_an_answer_follows_a_schema(live: Live) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}
    schema |= {"required": ["colour"], "additionalProperties": False}
    form = {"type": "json_schema", "name": "colour", "schema": schema}
    found = ask(live, text={"format": form}, max_output_tokens=40)
    assert json.loads(found.output_text)["colour"] in ("red", "blue")


@pytest.mark.parametrize(
    ("more", "param", "match"),
    [
        ({"store": True}, "store", "not kept"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "not kept"),
        ({"input": [{"role": "user"}]}, "input[0].content", "needs 'content'"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id", "needs 'call_id'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content", "input_image"),
        ({"input": "x " * 9000}, "input", "maximum context length"),
        ({"tool_choice": "required"}, "tool_choice", "only for requests with 'tools'"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].name", "Missing"),
        ({"extra_body": {"max_tokens": 4}}, "max_tokens", "max_output_tokens"),
        ({"reasoning": {"effort": "high"}}, "reasoning", "without a reasoning step"),
    ],
)
def test_mistakes_are_named(live: Live, more: dict[str, Any], param: str, match: str) -> None:
    with pytest.raises(openai.BadRequestError, match=match) as caught:
        ask(live, **more)
    assert caught.value.param == param
