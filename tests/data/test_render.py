"""Token ids are made in one place: equal to transformers', equal in training and serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from pumice.data.render import Renderer
from pumice.data.render.template import PLAIN
from pumice.data.render.tools import Toolbox
from pumice.errors import InputError
from pumice.records import Base, Example, Turn

LLAMA = """{{- bos_token }}
{%- if tools %}
    {{- '<|start_header_id|>system<|end_header_id|>\\n\\nTools: ' + tools | tojson + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
CHATML = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}\
{{ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
MISTRAL = """{{ bos_token }}{% for message in messages %}
{%- if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}
{%- else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"""
QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}{% for tool in tools %}{{- '\\n' + tool | tojson }}{% endfor %}
{{- '\\n</tools><|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
        {%- continue %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- generation %}{{- message.content }}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_call>\\n' + call.function | tojson + '\\n</tool_call>' }}{% endfor %}
    {%- endgeneration %}{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
TEMPLATES = {"llama": LLAMA, "chatml": CHATML, "gemma": GEMMA, "mistral": MISTRAL, "qwen": QWEN}
STOPS = {
    "llama": "<|eot_id|>",
    "chatml": "<|im_end|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "qwen": "<|im_end|>",
}
MARKS = [
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "</s>",
]

TOOLS = ({"type": "function", "function": {"name": "météo", "description": "<the> 'weather'", "parameters": {}}},)
CALL: Turn = {
    "role": "assistant",
    "content": "Let me see.",
    "tool_calls": [{"type": "function", "function": {"name": "météo", "arguments": {"city": "Kraków"}}}],
}


def turns(*contents: str, system: str | None = None) -> tuple[Turn, ...]:
    roles = ("user", "assistant")
    spoken: list[Turn] = [{"role": roles[at % 2], "content": each} for at, each in enumerate(contents)]  # type: ignore[typeddict-item]
    return ({"role": "system", "content": system}, *spoken) if system is not None else tuple(spoken)


CONVERSATIONS = [
    turns("What is the capital of France?", "Paris."),
    turns("Hi", "Hello! How can I help?", "Tell me a joke", "No."),
    turns("a", "b", "c", "d", "e", "f"),
    turns("Where?", "In Łódź – at 世界 😀 №5"),
    turns("  spaced  ", "x = 1\n\ny = 2\n"),
]


def folder_with(base: Base, folder: Path, template: str | None, stop: str = "<|im_end|>", **config: Any) -> Path:
    """The default base's tokenizer, knowing every family's marks, beside a template of its own."""
    folder.mkdir()
    tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
    tokenizer.add_special_tokens(MARKS)
    tokenizer.save(str(folder / "tokenizer.json"))
    values = {"bos_token": "<|endoftext|>", "eos_token": stop, "tokenizer_class": "PreTrainedTokenizerFast", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    (folder / "config.json").write_text((base.folder / "config.json").read_text())
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(scope="module")
def renderer(base: Base) -> Renderer:
    return Renderer(base.folder)


class Family:
    """A template's name, how Pumice renders it, and how transformers does."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.renderer, self.oracle = name, Renderer(folder), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=sorted(TEMPLATES))
def family(request: pytest.FixtureRequest, base: Base, tmp_path_factory: pytest.TempPathFactory) -> Family:
    name: str = request.param
    return Family(name, folder_with(base, tmp_path_factory.mktemp("family") / name, TEMPLATES[name], STOPS[name]))


@pytest.fixture(scope="module")
def oracle(base: Base) -> Any:
    return AutoTokenizer.from_pretrained(base.folder)


def raw(renderer: Renderer, ids: Any) -> str:
    """The text of ids, special tokens too."""
    return str(renderer._tokenizer.decode(list(ids), skip_special_tokens=False))


def trained(renderer: Renderer, example: Example) -> str:
    tokens = renderer.train(example)
    return raw(renderer, [each for each in tokens.labels if each != -100])


@pytest.mark.parametrize("messages", [*CONVERSATIONS, turns("Hi", "Yes?", system="Be brief.")])
def test_the_default_bases_ids_are_those_of_transformers(
    oracle: Any, renderer: Renderer, messages: tuple[Turn, ...]
) -> None:
    prompt = oracle.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    assert renderer.prompt(messages[:-1]) == prompt
    assert list(renderer.train(Example(1, messages)).ids) == oracle.apply_chat_template(messages, return_dict=False)


def pieces(oracle: Any, messages: tuple[Turn, ...], tools: Any) -> list[int]:
    """Transformers' ids of a prompt whose pieces are cut at the borders of the assistant's turns."""
    borders = [
        (messages[:end], ask)
        for at, each in enumerate(messages)
        if each["role"] == "assistant"
        for end, ask in ((at, True), (at + 1, False))
    ]
    ids, done = [], ""
    for part, ask in [*borders, (messages, True)]:
        text = oracle.apply_chat_template(part, tools=tools, tokenize=False, add_generation_prompt=ask)
        ids += oracle(text[len(done) :], add_special_tokens=False)["input_ids"]
        done = text
    return ids


@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("tools", [(), TOOLS])
def test_every_family_is_rendered_as_transformers_does(family: Family, messages: tuple[Turn, ...], tools: Any) -> None:
    renderer, oracle, asked = family.renderer, family.oracle, messages[:-1]
    # Where the template does not write tools in Pumice's form, they stand in the text: see test_render_tools.
    written, told = Toolbox(renderer._render).arrange(asked, tools)
    assert (tuple(written), tuple(told)) == (asked, tools) or (tools and family.name != "qwen")
    text = oracle.apply_chat_template(written, tools=list(told) or None, tokenize=False, add_generation_prompt=True)
    assert raw(renderer, renderer.prompt(asked, tools)) == text
    assert renderer.prompt(asked, tools) == pieces(oracle, tuple(written), list(told) or None)


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_every_family_trains_the_answers_and_their_stop_tokens(family: Family, messages: tuple[Turn, ...]) -> None:
    answers = [each["content"] for each in messages if each["role"] == "assistant"]
    written = {"llama": str.strip, "gemma": str.strip, "mistral": lambda text: " " + text}.get(family.name, str)
    assert trained(family.renderer, Example(1, messages)) == "".join(
        written(each) + STOPS[family.name] for each in answers
    )


def test_tool_calls_are_trained_and_tool_answers_are_not(base: Base, tmp_path: Path) -> None:
    folder = folder_with(base, tmp_path / "qwen", QWEN)
    renderer, oracle = Renderer(folder), AutoTokenizer.from_pretrained(folder)
    messages: tuple[Turn, ...] = (
        {"role": "user", "content": "How is it in Kraków?"},
        CALL,
        {"role": "tool", "content": '{"sky": "blue"}'},
        {"role": "assistant", "content": "Blue."},
    )
    example = Example(1, messages, TOOLS)
    assert raw(renderer, renderer.train(example).ids) == oracle.apply_chat_template(
        messages, tools=list(TOOLS), tokenize=False
    )
    call = '\n<tool_call>\n{"name": "météo", "arguments": {"city": "Kraków"}}\n</tool_call>'
    assert trained(renderer, example) == f"Let me see.{call}<|im_end|>Blue.<|im_end|>"


def test_an_answer_that_would_merge_across_the_border_is_cut_there(oracle: Any, renderer: Renderer) -> None:
    messages = turns("Hi", "\n\n# Title")
    tokens, prompt = renderer.train(Example(1, messages)), renderer.prompt(messages[:-1])
    # The case is real: tokenised as one text, a line break of the prompt and one of the answer are one token.
    assert list(tokens.ids) != oracle.apply_chat_template(messages, return_dict=False)
    assert list(tokens.ids[: len(prompt)]) == prompt
    assert raw(renderer, tokens.ids[len(prompt) :]) == "\n\n# Title<|im_end|>\n"


CONTENT = st.one_of(
    # The default base has no token for most control characters, nor for the first byte of anything beyond.
    st.text(
        st.characters(max_codepoint=0x1FFFF, exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=40
    ),
    st.lists(st.sampled_from(["\n", " ", "a", "<|im_end|>", "<|im_start|>user\n", "é", "1", "\u200d"]), max_size=6).map(
        "".join
    ),
)


@given(st.lists(CONTENT, min_size=2, max_size=6).filter(lambda each: len(each) % 2 == 0), st.none() | CONTENT)
@settings(max_examples=150, deadline=None)
def test_training_begins_with_the_ids_that_serving_sends(
    renderer: Renderer, contents: list[str], system: str | None
) -> None:
    messages = turns(*contents, system=system)
    tokens = renderer.train(Example(1, messages))
    for at, message in enumerate(messages):
        if message["role"] == "assistant":
            prompt = renderer.prompt(messages[:at])
            assert list(tokens.ids[: len(prompt)]) == prompt
    answers = [each["content"] + "<|im_end|>" for each in messages if each["role"] == "assistant"]
    assert raw(renderer, [each for each in tokens.labels if each != -100]) == "".join(answers)
    assert all(label in (-100, each) for each, label in zip(tokens.ids, tokens.labels, strict=True))


def test_a_template_without_a_stop_token_gets_one_on_the_last_turn(base: Base, tmp_path: Path) -> None:
    spoken = "{% for m in messages %}{{ m.role }}: {{ m.content + '\\n' }}{% endfor %}"
    template = spoken + "{% if add_generation_prompt %}assistant: {% endif %}"
    renderer = Renderer(folder_with(base, tmp_path / "bare", template))
    assert trained(renderer, Example(1, turns("a", "b", "c", "d"))) == "b\nd\n<|im_end|>"


def test_a_base_without_a_template_gets_the_plain_one(base: Base, tmp_path: Path) -> None:
    renderer = Renderer(folder_with(base, tmp_path / "plain", None))
    written = Renderer(folder_with(base, tmp_path / "written", PLAIN))
    assert raw(renderer, renderer.prompt(turns("Hi", system="Be kind."))) == "system: Be kind.\nuser: Hi\nassistant:"
    assert trained(renderer, Example(1, turns("a", "b", "c", "d"))) == " b<|im_end|> d<|im_end|>"
    assert renderer.template_sha256 == written.template_sha256 != ""


def test_an_older_folder_keeps_its_template_in_the_tokenizer_config(base: Base, tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": CHATML}]
    renderers = [
        Renderer(folder_with(base, tmp_path / "file", CHATML)),
        Renderer(folder_with(base, tmp_path / "text", None, chat_template=CHATML)),
        Renderer(folder_with(base, tmp_path / "named", None, chat_template=named)),
    ]
    assert len({each.template_sha256 for each in renderers}) == 1
    assert len({tuple(each.prompt(turns("Hi"))) for each in renderers}) == 1


def test_what_a_template_refuses_is_said_in_its_own_words(base: Base, tmp_path: Path) -> None:
    renderer = Renderer(folder_with(base, tmp_path / "gemma", GEMMA, "<end_of_turn>"))
    with pytest.raises(InputError, match="System role not supported"):
        renderer.prompt(turns("Hi", system="Be brief."))
    with pytest.raises(InputError, match="roles must alternate"):
        renderer.train(Example(1, turns("a", "b")[::-1]))


def test_a_template_that_is_not_jinja_is_named_with_its_line(base: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2"):
        Renderer(folder_with(base, tmp_path / "broken", "{% if messages %}\n{% endfor %}"))


@pytest.mark.parametrize(
    "template",
    ["{{ messages.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% set n = namespace() %}{% set n.__x__ = 1 %}"],
)
def test_a_template_is_kept_in_its_sandbox(base: Base, tmp_path: Path, template: str) -> None:
    with pytest.raises(InputError, match="refuses this conversation"):
        Renderer(folder_with(base, tmp_path / "evil", template)).prompt(turns("Hi"))


def test_a_template_that_rewrites_earlier_turns_is_not_trained(base: Base, tmp_path: Path) -> None:
    thinking = CHATML.replace(
        "message['content']", "(message['content'] if loop.last else message['content'].split('</think>')[-1])"
    )
    folder = folder_with(base, tmp_path / "thinking", thinking)
    renderer, oracle = Renderer(folder), AutoTokenizer.from_pretrained(folder)
    messages = turns("a", "<think>b?</think>b", "c", "<think>d?</think>d")
    with pytest.raises(InputError, match="turn 4"):
        renderer.train(Example(1, messages))
    # A prompt is what the template says it is, and a conversation with one answer can be trained.
    assert renderer.prompt(messages[:3]) == oracle.apply_chat_template(
        messages[:3], add_generation_prompt=True, return_dict=False
    )
    assert trained(renderer, Example(1, messages[:2])) == "<think>b?</think>b<|im_end|>"


def test_text_is_trained_to_its_end(base: Base, renderer: Renderer) -> None:
    tokens = renderer.train(Example(1, text="Pumice floats.<|im_end|>"))
    assert tokens.ids == tokens.labels
    assert raw(renderer, tokens.ids) == "Pumice floats.<|im_end|><|im_end|>"
    assert list(tokens.ids[:-1]) == renderer.encode("Pumice floats.<|im_end|>")


def test_a_bos_token_is_put_before_text_and_not_trained(base: Base, tmp_path: Path) -> None:
    folder = folder_with(base, tmp_path / "bos", CHATML)
    values = json.loads((folder / "tokenizer.json").read_text())
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(values))
    renderer = Renderer(folder)
    tokens = renderer.train(Example(1, text="Pumice floats."))
    assert raw(renderer, tokens.ids) == "<|endoftext|>Pumice floats.<|im_end|>"
    assert tokens.labels == (-100, *tokens.ids[1:])
    assert renderer.encode("Pumice") == AutoTokenizer.from_pretrained(folder)("Pumice")["input_ids"]
    assert 0 not in renderer.prompt(turns("Hi"))


def test_every_declared_end_stops_an_answer(base: Base, tmp_path: Path) -> None:
    folder = folder_with(base, tmp_path / "stops", CHATML)
    assert Renderer(folder).stop_ids == (2,)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2]}))
    assert Renderer(folder).stop_ids == (2, 0)


def test_a_base_that_names_no_end_is_refused(base: Base, tmp_path: Path) -> None:
    folder = folder_with(base, tmp_path / "endless", CHATML, "<|nowhere|>")
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 8}))
    with pytest.raises(InputError, match="names no token that ends an answer"):
        Renderer(folder)


def test_ids_are_read_back(base: Base, renderer: Renderer) -> None:
    ids = renderer.prompt(turns("Łódź 😀", system="s"))
    assert renderer.decode(ids) == AutoTokenizer.from_pretrained(base.folder).decode(ids, skip_special_tokens=True)
    assert "".join(renderer.tokens(renderer.prompt(turns("plain words", system="s")))) == (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nplain words<|im_end|>\n<|im_start|>assistant\n"
    )
    assert renderer.window == base.window
    assert renderer.template_sha256 == base.template_sha256


def pair(chosen: Turn, rejected: Turn, opening: tuple[Turn, ...], tools: tuple[dict[str, Any], ...] = ()) -> Example:
    return Example(1, (*opening, chosen), tools, rejected=(*opening, rejected))


@given(chosen=st.text(min_size=1), rejected=st.text(min_size=1), asked=st.text(), before=st.booleans())
@settings(max_examples=25, deadline=None)
def test_both_endings_stand_behind_the_ids_that_are_served(
    family: Family, chosen: str, rejected: str, asked: str, before: bool
) -> None:
    opening = turns("Hi", "Hello!", asked) if before else turns(asked)
    row = pair({"role": "assistant", "content": chosen}, {"role": "assistant", "content": rejected}, opening)
    tokens = family.renderer.train(row)
    served = tuple(family.renderer.prompt(opening))
    assert tokens.rejected is not None
    for ending, messages in ((tokens, row.messages), (tokens.rejected, row.rejected)):
        assert ending.ids[: len(served)] == served
        assert ending.labels == (*[-100] * len(served), *ending.ids[len(served) :])
        assert ending.ids[-1] in family.renderer.stop_ids
        alone = family.renderer.train(Example(1, messages))
        assert ending.ids == alone.ids[: len(ending.ids)]
        assert set(alone.labels[len(ending.ids) :]) <= {-100}


def test_of_a_judged_answer_only_the_last_turn_is_learned(family: Family) -> None:
    messages = turns("Hi", "Hello!", "And now?", "Paris.")
    better, worse = (family.renderer.train(Example(1, messages, wanted=wanted)) for wanted in (True, False))
    assert (better.label, worse.label, better.ids) == (True, False, worse.ids)
    served = family.renderer.prompt(messages[:-1])
    assert better.labels == (*[-100] * len(served), *better.ids[len(served) :])
    assert "Paris." in raw(family.renderer, better.ids[len(served) :])


def test_a_prompt_is_what_is_served_with_its_facts(family: Family) -> None:
    asked = turns("Hi", "Hello!", "And now?")
    tokens = family.renderer.train(Example(1, asked, facts={"answer": 42}))
    assert tokens.ids == tuple(family.renderer.prompt(asked))
    assert (tokens.labels, tokens.facts, tokens.label, tokens.rejected) == ((), {"answer": 42}, None, None)


def test_a_classifier_reads_a_text_as_transformers_gives_it(family: Family) -> None:
    tokens = family.renderer.train(Example(1, text="Where is Łódź?", label="place"))
    assert list(tokens.ids) == family.oracle("Where is Łódź?")["input_ids"]
    assert (tokens.labels, tokens.label) == ((), "place")


def test_endings_that_change_what_stands_before_them_are_refused(family: Family) -> None:
    # Only where the template knows no tools is the conversation rewritten, and then what looks like a result moves.
    opening = turns("Hi", "x</tool_response>", "And now?")
    row = pair(CALL, {"role": "assistant", "content": "No."}, opening)
    if family.renderer._tools.native:
        assert family.renderer.train(row).rejected is not None
    else:
        with pytest.raises(InputError, match=r"before the two answers is not the same|roles must alternate"):
            family.renderer.train(row)
