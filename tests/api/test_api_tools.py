"""Tools through the official client, on the real default base: arguments always follow their schema."""

from __future__ import annotations

import json

import jsonschema
import pytest
from live_server import Live

ASK = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["celsius", "kelvin"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("temperature", [0, 1.9])
def test_arguments_follow_the_schema_whatever_the_dice_say(live: Live, choice: object, temperature: float) -> None:
    answer = live.client.chat.completions.create(
        model=live.base.name,
        messages=ASK,
        tools=[WEATHER],
        tool_choice=choice,
        parallel_tool_calls=False,
        temperature=temperature,
        seed=3,
        max_tokens=200,
    )
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    jsonschema.validate(json.loads(call.function.arguments), SCHEMA)


def test_a_stream_has_the_same_call(live: Live) -> None:
    arguments = {"model": live.base.name, "messages": ASK, "tools": [WEATHER, CLOCK], "tool_choice": "required",
                 "temperature": 0, "max_tokens": 200, "parallel_tool_calls": False}  # fmt: skip
    whole = live.client.chat.completions.create(**arguments).choices[0]
    with live.client.chat.completions.stream(**arguments) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == whole.finish_reason == "tool_calls"
    [call], [same] = whole.message.tool_calls, streamed.message.tool_calls
    assert same.function.name == call.function.name
    assert same.function.arguments == call.function.arguments


def test_the_result_of_a_call_goes_on_the_conversation(live: Live) -> None:
    arguments = {"model": live.base.name, "tools": [WEATHER], "temperature": 0, "max_tokens": 200}
    called = live.client.chat.completions.create(messages=ASK, tool_choice="required", parallel_tool_calls=False,
                                                 **arguments).choices[0].message  # fmt: skip
    result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "It is 31 degrees."}
    answer = live.client.chat.completions.create(messages=[*ASK, called, result], tool_choice="none", **arguments)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is None
    other = {**result, "content": "It is snowing."}
    changed = live.client.chat.completions.create(messages=[*ASK, called, other], tool_choice="none", **arguments)
    assert changed.choices[0].message.content != answer.choices[0].message.content


def test_a_call_that_is_cut_off_is_not_called(live: Live) -> None:
    answer = live.client.chat.completions.create(
        model=live.base.name, messages=ASK, tools=[WEATHER], tool_choice="required", max_tokens=8
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.tool_calls is None
    assert "<tool" not in (answer.choices[0].message.content or "")
