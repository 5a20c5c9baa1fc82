"""Pieces of a text are tokenised as parts of it, and ids become text without half characters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pumice.data.render import Decoder, Renderer
from pumice.data.render.tokenizer import Pieces
from pumice.records import Base

REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
SENTENCE_PIECE = {
    "legacy": ({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}, None),
    "first": (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}),
    "always": (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}),
    "never": (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False}),
}


def sentence_piece(normalizer: Any, pre_tokenizer: Any) -> Tokenizer:
    """A tokenizer in Llama 2's manner: a space before the first word, bytes for unknown characters, no merges."""
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "é"]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    values = {
        "version": "1.0",
        "added_tokens": [{"id": at, "content": vocabulary[at], **special} for at in range(3)],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {each: at for at, each in enumerate(vocabulary)},
            "merges": [],
        },
    }
    return Tokenizer.from_str(json.dumps(values))


@pytest.mark.parametrize("scheme", sorted(SENTENCE_PIECE))
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", " ", "é", "世", "\n", "</s>"]), min_size=1).map("".join), max_size=5)
)
@settings(max_examples=150, deadline=None)
def test_pieces_join_to_the_ids_of_the_whole(scheme: str, texts: list[str]) -> None:
    tokenizer = sentence_piece(*SENTENCE_PIECE[scheme])
    (pieces,) = Pieces(tokenizer).encode([texts])
    assert [each for ids in pieces for each in ids] == tokenizer.encode("".join(texts), add_special_tokens=False).ids


@pytest.fixture(scope="module")
def renderer(base: Base) -> Renderer:
    return Renderer(base.folder)


def pushed(decoder: Decoder, ids: list[int], sizes: list[int]) -> list[str]:
    shown = []
    for size in sizes:
        shown.append(decoder.push(ids[:size]))
        ids = ids[size:]
    return [*shown, decoder.push(ids), decoder.flush()]


@given(
    st.text(st.characters(max_codepoint=0x1FFFF, exclude_categories=["Cs", "Cc"]), max_size=60),
    st.lists(st.integers(1, 3), max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_streamed_text_is_the_text_without_half_characters(renderer: Renderer, text: str, sizes: list[int]) -> None:
    ids = renderer.encode(text)
    shown = pushed(renderer.stream(), ids, sizes)
    assert "".join(shown) == renderer.decode(ids)
    assert all("\ufffd" not in each for each in shown) or "\ufffd" in text


@given(st.lists(st.integers(0, 400) | st.integers(0, 49_151), max_size=40), st.lists(st.integers(1, 3), max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_ids_stream_to_their_text(renderer: Renderer, ids: list[int], sizes: list[int]) -> None:
    assert "".join(pushed(renderer.stream(), ids, sizes)) == renderer.decode(ids)


BYTES = [3 + each for each in "世😀".encode()]


@given(
    st.lists(st.sampled_from([0, 1, 2, *BYTES, 259, 260, 261, 262]), max_size=30),
    st.lists(st.integers(1, 3), max_size=30),
)
@settings(max_examples=400, deadline=None)
def test_bytes_and_stripped_spaces_stream_to_their_text(ids: list[int], sizes: list[int]) -> None:
    tokenizer = sentence_piece(*SENTENCE_PIECE["legacy"])
    decoder = Decoder(tokenizer, frozenset({0, 1, 2}))
    assert "".join(pushed(decoder, ids, sizes)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_text_is_shown_as_soon_as_it_is_whole(renderer: Renderer) -> None:
    decoder, ids = renderer.stream(), renderer.encode("so 😀 so")
    shown = [decoder.push([each]) for each in ids]
    assert shown[0] == "so" and shown[-1] == " so"
    assert "😀" in "".join(shown[:-1])


def test_a_template_that_asks_for_today_gets_the_same_day_for_ever(base: Base, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base.folder / name, tmp_path / name)
    template = "{{ strftime_now('%d %b %Y') }}\n{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(template)
    renderer = Renderer(tmp_path)
    assert renderer.decode(renderer.prompt([{"role": "user", "content": "Hi"}])) == "26 Jul 2024\nHi"
