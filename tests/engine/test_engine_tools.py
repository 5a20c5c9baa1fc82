"""Every call that comes out of an answer is valid, wherever the answer's pieces or its limit end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from pumice.data.render import Renderer
from pumice.data.render.tools import CALL, written
from pumice.engine import llamacpp
from pumice.engine.answer import Ask, answer, stream
from pumice.engine.constraints import check
from pumice.engine.contract import Constraint, Generate, Sampling
from pumice.engine.hf import Transformers
from pumice.engine.llamacpp import CAPABILITIES, LlamaCpp
from pumice.engine.tools import Call, Caller, Choice, Said, Tool, closed, constrain
from pumice.engine.vocabulary import whole_characters
from pumice.errors import InputError
from pumice.records import Base

NESTED = {
    "type": "object",
    "properties": {
        "place": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}, "zip": {"type": "integer"}},
            "required": ["city", "zip"],
            "additionalProperties": False,
        },
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["place", "unit"],
    "additionalProperties": False,
}
LISTED = {
    "properties": {"numbers": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3}},
    "required": ["numbers"],
    "additionalProperties": False,
}
OPEN = {
    "type": "object",
    "properties": {"kind": {"enum": ["café", '"quoted"', "c"]}, "note": {"type": "string", "maxLength": 10}},
    "required": ["kind"],
    "additionalProperties": {"type": "boolean"},
}
TOOLS = [Tool("weather", "The weather", NESTED), Tool("add", "Adds numbers", LISTED), Tool("note-1", "Notes", OPEN)]
SCHEMAS = {tool.name: tool.shown()["function"]["parameters"] for tool in TOOLS}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(base: Base, cache: Path) -> AsyncIterator[LlamaCpp]:
    engine = await llamacpp.start(base.folder, cache=cache, context=1024, slots=2, threads=1)
    yield engine
    await engine.stop()


def hear(text: str, cut: bool = False, size: int = 1) -> tuple[str, list[Call], str]:
    caller = Caller([*TOOLS, Tool("f")])
    said = [caller.push(text[at : at + size]) for at in range(0, len(text), size)]
    said.append(caller.flush(cut))
    return "".join(each.text for each in said), [call for each in said for call in each.calls], said[-1].unfinished


def valid(calls: list[Call]) -> bool:
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    return True


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
async def test_every_call_of_the_real_base_is_valid_also_when_it_is_cut(real: LlamaCpp, base: Base, tool: Tool) -> None:
    renderer = Renderer(base.folder)
    ids = renderer.prompt([{"role": "user", "content": "Go on."}], [tool.shown()])
    form = constrain(TOOLS, Choice(name=tool.name))
    complete = 0
    for seed, most in ((1, 12), (2, 25), (3, 70), (4, 120)):
        sampling = Sampling(max_tokens=most, temperature=1.5, seed=seed)
        said = await answer(real, renderer, Ask(ids, sampling, constraint=form))
        text, calls, unfinished = hear(said.text, said.finish == "length")
        assert (text, len(calls) + bool(unfinished)) == ("", 1)
        assert bool(unfinished) == (said.finish == "length")
        assert valid(calls) and all(call.name == tool.name for call in calls)
        complete += len(calls)
    assert complete


@pytest.mark.asyncio(loop_scope="module")
async def test_the_model_may_talk_call_or_both_and_calls_stay_valid(real: LlamaCpp, base: Base) -> None:
    renderer = Renderer(base.folder)
    asked = [{"role": "user", "content": "Say hello."}]
    ids = renderer.prompt(asked, [tool.shown() for tool in TOOLS])  # type: ignore[arg-type]
    free = await answer(real, renderer, Ask(ids, Sampling(max_tokens=30), constraint=constrain(TOOLS, Choice())))
    text, calls, unfinished = hear(free.text)
    assert text.strip() and not calls and not unfinished
    # A base this small calls of its own accord when its answer already begins with the mark.
    begun = [*ids, *renderer.encode("Let me see.\n<tool_call")]
    caller, shown = Caller(TOOLS), ""
    heard: list[Call] = []
    form = constrain(TOOLS, Choice(parallel=False))
    pieces = stream(real, renderer, Ask(begun, Sampling(max_tokens=120), constraint=form))
    said = caller.push("Let me see.\n<tool_call")
    shown += said.text
    async for piece in pieces:
        said = caller.push(piece.text)
        shown += said.text
        heard += said.calls
        assert CALL[:2] not in shown
    assert shown.startswith("Let me see.") and valid(heard)


@pytest.mark.asyncio(loop_scope="module")
async def test_required_calls_one_of_them_and_one_only_if_told(real: LlamaCpp, base: Base) -> None:
    renderer = Renderer(base.folder)
    ids = renderer.prompt([{"role": "user", "content": "Add 3 and 4."}], [tool.shown() for tool in TOOLS])
    sampling = Sampling(max_tokens=200)
    one = await answer(real, renderer, Ask(ids, sampling, constraint=constrain(TOOLS, Choice(True, parallel=False))))
    text, calls, unfinished = hear(one.text)
    assert (text, len(calls), unfinished, one.finish) == ("", 1, "", "stop")
    assert valid(calls)
    several = await answer(real, renderer, Ask(ids, sampling, constraint=constrain(TOOLS[1:2], Choice(True))))
    text, calls, _ = hear(several.text, several.finish == "length")
    assert text == "" and len(calls) > 1 and len({call.id for call in calls}) == len(calls)
    assert valid(calls)


TEXT = st.text("ab <\ntol_c>é", max_size=12).filter(lambda text: CALL not in text)
ARGUMENTS = st.fixed_dictionaries(
    {"a": st.integers() | st.text('}]"\\é</tool_call', max_size=12) | st.just("</tool_call> <tool_call>")}
)


@given(TEXT, st.lists(ARGUMENTS, max_size=3), st.integers(1, 9))
def test_pieces_never_show_a_part_of_a_call(text: str, arguments: list[dict[str, Any]], size: int) -> None:
    whole = "\n".join([text, *(written("f", each) for each in arguments)]) if arguments else text
    shown, calls, unfinished = hear(whole, size=size)
    assert (shown.rstrip(), unfinished) == (text.rstrip(), "")
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [("f", each) for each in arguments]
    assert arguments or shown == text


@given(st.integers(0, 70), st.integers(1, 9))
def test_a_call_that_is_cut_is_never_a_call_and_never_text(at: int, size: int) -> None:
    whole = "Well.\n" + written("f", {"a": "b" * 20})
    end = min(at + 7, len(whole) - 1)
    assert hear(whole[:end], cut=True, size=size) == ("Well.", [], whole[6:end])


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>nonsense</tool_call>",
        '<tool_call>{"name": "f"}</tool_call>',
        '<tool_call>{"name": "g", "arguments": {}}</tool_call>',
        '<tool_call>{"name": ["f"], "arguments": {}}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"numbers": [1]}}</tool_call>',
        '<tool_call>{"name": "add", "arguments": {"numbers": [1, "2"]}}</tool_call>',
        "<tool_call>[1]</tool_call>",
        "<tool_call>{",
    ],
)
def test_what_no_grammar_held_and_is_no_call_is_reported_as_none(text: str) -> None:
    assert hear(text) == ("", [], text)


def test_text_is_not_held_back_for_longer_than_it_must() -> None:
    caller = Caller(TOOLS)
    assert caller.push("a < b") == Said("a < b")
    assert caller.push(" <too") == Said("")
    assert caller.push("th>") == Said(" <tooth>")
    assert caller.push("\n") == Said("")
    assert caller.flush(cut=False) == Said("\n")


@pytest.mark.asyncio(loop_scope="module")
async def test_literals_may_hold_characters_that_no_token_has_whole(real: LlamaCpp, base: Base) -> None:
    whole = whole_characters(base.folder)
    assert not {"漢", "😀"} & whole and "é" in whole
    renderer = Renderer(base.folder)
    schema = {
        "type": "object",
        "properties": {"名前": {"enum": ["漢字é", "z 😀"]}, "b": {"const": {"ü字": ["😀"]}}},
        "required": ["名前", "b"],
        "additionalProperties": False,
    }
    tool = Tool("f", "", schema)
    ids = renderer.prompt([{"role": "user", "content": "Go on."}], [tool.shown()])
    found = set()
    for seed in range(4):
        sampling = Sampling(max_tokens=120, temperature=2.0, seed=seed)
        said = await answer(real, renderer, Ask(ids, sampling, constraint=constrain([tool], Choice(name="f"))))
        caller = Caller([tool])
        (call,) = caller.push(said.text).calls
        found.add(json.loads(call.arguments)["名前"])
        form = Constraint("json_schema", json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}}))
        bare = await answer(real, renderer, Ask(ids, sampling, constraint=form))
        jsonschema.validate(json.loads(bare.text), schema)
    assert found <= {"漢字é", "z 😀"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_pattern_that_would_lead_nowhere_is_refused(real: LlamaCpp) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^é漢$"}}}
    for form in (Constraint("json_schema", json.dumps(schema)), constrain([Tool("f", "", schema)], Choice())):
        with pytest.raises(InputError, match="'\\^é漢\\$' cannot be enforced: this base has no token for '漢'"):
            await anext(real.generate(Generate([1, 2], constraint=form)))


async def test_transformers_leaves_calls_to_the_model_and_refuses_to_force_them(plain: Transformers) -> None:
    free = Generate([1, 2], Sampling(max_tokens=3), constraint=constrain(TOOLS, Choice()))
    assert [delta async for delta in plain.generate(free)]
    for choice in (Choice(True), Choice(name="add")):
        with pytest.raises(InputError, match="The transformers engine cannot hold an answer to a grammar"):
            await anext(plain.generate(replace(free, constraint=constrain(TOOLS, choice))))


def test_every_form_can_be_enforced() -> None:
    for choice in (Choice(), Choice(parallel=False), Choice(True), Choice(True, parallel=False), Choice(name="add")):
        check(constrain(TOOLS, choice), CAPABILITIES)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Tool("two words"), "cannot be called 'two words'"),
        (lambda: Tool("f", "", {"type": "array"}), "parameters of the tool f are of type 'array'"),
        (lambda: Tool("f", "", {"properties": {"a": {"type": "text"}}}), "tool f is no JSON schema.*'text'"),
        (lambda: constrain([], Choice()), "no tools"),
        (lambda: constrain([Tool("f"), Tool("f")], Choice()), "two tools called f"),
        (lambda: constrain([Tool("f")], Choice(name="g")), "no tool 'g'"),
        (lambda: check(constrain([Tool("f", "", {"not": {}})], Choice()), CAPABILITIES), '"not"'),
    ],
)
def test_what_cannot_be_a_tool_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()


def test_an_object_that_lists_its_properties_gets_no_others() -> None:
    open_ = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}, "c": {"items": {}}}}
    shut = closed(open_)
    assert shut["additionalProperties"] is False
    assert shut["properties"]["a"]["additionalProperties"] is False
    assert "additionalProperties" not in open_["properties"]["a"]
    assert closed({"properties": {}, "additionalProperties": True})["additionalProperties"] is True
    assert "additionalProperties" not in closed({"properties": {}, "anyOf": [{"properties": {"x": {}}}]})
