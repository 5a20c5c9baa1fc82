"""Tools through boto3: every call has arguments that follow its schema, in each body that knows tools."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from pumice.bases.resolve import DEFAULT

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["celsius", "kelvin"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
QUESTION = "What is the weather in Paris?"
ASK = [{"role": "user", "content": [{"text": QUESTION}]}]
TOOL = {"toolSpec": {"name": "get_weather", "description": "The weather.", "inputSchema": {"json": SCHEMA}}}
CLOCK = {"toolSpec": {"name": "get_time", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
GREEDY = {"temperature": 0, "maxTokens": 200}
THIS = {"tool": {"name": "get_weather"}}


def converse(runtime: Any, messages: Any, tools: list[Any], choice: dict[str, Any], **inference: Any) -> dict[str, Any]:
    answer: dict[str, Any] = runtime.converse(
        modelId=DEFAULT,
        messages=messages,
        toolConfig={"tools": tools, "toolChoice": choice},
        inferenceConfig={**GREEDY, **inference},
    )
    return answer


@pytest.mark.parametrize("temperature", [0, 1])
def test_arguments_follow_the_schema(runtime: Any, temperature: float) -> None:
    answer = converse(runtime, ASK, [TOOL, CLOCK], THIS, temperature=temperature)
    assert answer["stopReason"] == "tool_use"
    [block] = answer["output"]["message"]["content"]
    assert block["toolUse"]["name"] == "get_weather"
    jsonschema.validate(block["toolUse"]["input"], SCHEMA)


def test_a_stream_has_the_same_call(runtime: Any) -> None:
    whole = converse(runtime, ASK, [TOOL], THIS)
    config = {"tools": [TOOL], "toolChoice": THIS}
    stream = runtime.converse_stream(modelId=DEFAULT, messages=ASK, toolConfig=config, inferenceConfig=GREEDY)
    events = list(stream["stream"])
    assert [next(iter(event)) for event in events] == [
        "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
    ]  # fmt: skip
    assert events[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "get_weather"
    sent = json.loads(events[2]["contentBlockDelta"]["delta"]["toolUse"]["input"])
    assert sent == whole["output"]["message"]["content"][0]["toolUse"]["input"]
    assert events[4]["messageStop"]["stopReason"] == "tool_use"
    assert events[5]["metadata"]["usage"] == whole["usage"]


def test_the_result_of_a_call_goes_on_the_conversation(runtime: Any) -> None:
    called = converse(runtime, ASK, [TOOL], THIS)["output"]["message"]

    def go_on(result: list[dict[str, Any]]) -> dict[str, Any]:
        id = called["content"][0]["toolUse"]["toolUseId"]
        turn = {"role": "user", "content": [{"toolResult": {"toolUseId": id, "content": result}}]}
        return converse(runtime, [*ASK, called, turn], [TOOL], {"auto": {}}, maxTokens=8)

    one, other = go_on([{"text": "31 degrees"}]), go_on([{"json": {"weather": "snow", "degrees": [1, 2, 3, 4]}}])
    assert one["usage"]["inputTokens"] < other["usage"]["inputTokens"]
    counted = runtime.count_tokens(
        modelId=DEFAULT, input={"converse": {"messages": ASK, "toolConfig": {"tools": [TOOL], "toolChoice": THIS}}}
    )
    assert counted["inputTokens"] == converse(runtime, ASK, [TOOL], THIS)["usage"]["inputTokens"]


def test_a_call_that_is_cut_off_is_not_called(runtime: Any) -> None:
    answer = converse(runtime, ASK, [TOOL], {"any": {}}, maxTokens=6)
    assert answer["stopReason"] == "max_tokens"
    assert answer["output"]["message"]["content"] == [{"text": ""}]


def test_a_choice_of_no_tool_is_refused(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ValidationException, match=r"no tool 'other'.*get_weather"):
        converse(runtime, ASK, [TOOL], {"tool": {"name": "other"}})


def test_claude_and_openai_bodies_call_too(runtime: Any) -> None:
    user = [{"role": "user", "content": QUESTION}]
    claude = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 200,
        "temperature": 0,
        "messages": user,
        "tools": [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "get_weather"},
    }
    function = {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}
    openai = {
        "max_tokens": 200,
        "temperature": 0,
        "messages": user,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    }
    same = converse(runtime, ASK, [TOOL], THIS)["output"]["message"]["content"][0]["toolUse"]["input"]

    said = json.loads(runtime.invoke_model(modelId=DEFAULT, body=json.dumps(claude))["body"].read())
    assert said["stop_reason"] == "tool_use"
    assert [(block["type"], block["name"], block["input"]) for block in said["content"]] == [
        ("tool_use", "get_weather", same)
    ]
    said = json.loads(runtime.invoke_model(modelId=DEFAULT, body=json.dumps(openai))["body"].read())
    [call] = said["choices"][0]["message"]["tool_calls"]
    assert (said["choices"][0]["finish_reason"], json.loads(call["function"]["arguments"])) == ("tool_calls", same)

    stream = runtime.invoke_model_with_response_stream(modelId=DEFAULT, body=json.dumps(claude))["body"]
    chunks = [json.loads(event["chunk"]["bytes"]) for event in stream]
    parts = [chunk["delta"]["partial_json"] for chunk in chunks if chunk["type"] == "content_block_delta"]
    assert json.loads("".join(parts)) == same
    # Their own next turn, as each sends it.
    result = {"type": "tool_result", "tool_use_id": "x", "content": "31 degrees"}
    used = {"type": "tool_use", "id": "x", "name": "get_weather", "input": same}
    turns = [*user, {"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
    again = {**claude, "messages": turns, "tool_choice": {"type": "none"}}
    said = json.loads(runtime.invoke_model(modelId=DEFAULT, body=json.dumps(again))["body"].read())
    assert said["content"][0]["type"] == "text"
