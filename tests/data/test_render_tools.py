"""Tools, calls and results reach every base: by its own template, or written out in plain turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_render import MISTRAL, QWEN, STOPS, TOOLS, folder_with

from pumice.data.render import Renderer
from pumice.records import Base, Example, Turn

# As a wire carries it: arguments are text.
CALLED: Turn = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "météo", "arguments": '{"city": "Kraków"}'}}],
}
WRITTEN = '<tool_call>\n{"name": "météo", "arguments": {"city": "Kraków"}}\n</tool_call>'
TALK: tuple[Turn, ...] = (
    {"role": "user", "content": "How is it in Kraków?"},
    CALLED,
    {"role": "tool", "content": "blue"},
    {"role": "tool", "content": "12 °C"},
    {"role": "assistant", "content": "Blue."},
    {"role": "user", "content": "Thanks"},
)
RESULTS = "<tool_response>\nblue\n</tool_response>\n<tool_response>\n12 °C\n</tool_response>"


def raw(renderer: Renderer, ids: Any) -> str:
    return str(renderer._tokenizer.decode(list(ids), skip_special_tokens=False))


def test_a_template_without_tools_is_told_in_the_system_turn(base: Base) -> None:
    renderer = Renderer(base.folder)
    system: Turn = {"role": "system", "content": "Be brief."}
    text = raw(renderer, renderer.prompt((system, *TALK), TOOLS))
    head, _, rest = text.partition("<|im_end|>\n<|im_start|>user\n")
    assert head.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert json.dumps(TOOLS[0], ensure_ascii=False) in head
    assert rest == (
        f"How is it in Kraków?<|im_end|>\n<|im_start|>assistant\n{WRITTEN}<|im_end|>\n"
        f"<|im_start|>user\n{RESULTS}<|im_end|>\n<|im_start|>assistant\nBlue.<|im_end|>\n"
        "<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_without_a_system_turn_is_told_by_the_user(base: Base, tmp_path: Path) -> None:
    renderer = Renderer(folder_with(base, tmp_path / "mistral", MISTRAL, STOPS["mistral"]))
    text = raw(renderer, renderer.prompt(TALK, TOOLS))
    assert "[INST] # Tools" in text and "</tool_call>\n\nHow is it in Kraków? [/INST]" in text
    assert f" {WRITTEN}</s>[INST] {RESULTS} [/INST]" in text


def test_a_template_with_tools_writes_them_itself(base: Base, tmp_path: Path) -> None:
    renderer = Renderer(folder_with(base, tmp_path / "qwen", QWEN))
    text = raw(renderer, renderer.prompt(TALK, TOOLS))
    assert text.count("# Tools") == text.count("<tools>") == 1 and "You may call" not in text
    # The arguments are JSON there, not JSON in a string.
    assert f"<|im_start|>assistant\n\n{WRITTEN}<|im_end|>" in text
    assert "<tool_response>\n12 °C\n</tool_response>" in text


@pytest.mark.parametrize("template", [None, QWEN])
def test_training_and_serving_tell_of_tools_alike(base: Base, tmp_path: Path, template: str | None) -> None:
    renderer = Renderer(base.folder if template is None else folder_with(base, tmp_path / "own", template))
    talk: tuple[Turn, ...] = TALK[:-1]
    tokens = renderer.train(Example(1, talk, TOOLS))
    for border in (1, 4):
        prompt = renderer.prompt(talk[:border], TOOLS)
        assert list(tokens.ids[: len(prompt)]) == prompt
    trained = raw(renderer, [each for each in tokens.labels if each != -100])
    assert trained.strip() == f"{WRITTEN}<|im_end|>Blue.<|im_end|>"


def test_without_tools_nothing_changes(base: Base) -> None:
    renderer = Renderer(base.folder)
    assert "Tools" not in raw(renderer, renderer.prompt(TALK[:1]))
