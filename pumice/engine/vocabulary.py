"""Writes a tokenizer.json into a GGUF file: llama.cpp needs it to detokenise and for grammars, other tools to tokenise.

This module knows no weights. Pumice itself tokenises with `data.render` and sends ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")

# A phrase of the pre-tokenizer's JSON and llama.cpp's name for it, first match wins; without one it is GPT-2's.
_PRE_TOKENIZERS = ((r"\\p{N}{1,3}", "llama-bpe"), ("(?i:", "qwen2"), ('"Digits"', "smollm"))


def read(folder: Path) -> dict[str, Any]:
    """The folder's tokenizer.json."""
    return dict(json.loads((folder / "tokenizer.json").read_bytes()))


def refusal(folder: Path) -> str | None:
    """Why the tokenizer cannot be written, as half a sentence; None when it can."""
    if not (folder / "tokenizer.json").is_file():
        return "it has no tokenizer.json"
    kind = read(folder)["model"]["type"]
    return None if kind == "BPE" else f"its tokenizer is {kind}, not BPE"


def write(writer: GGUFWriter, folder: Path, config: Mapping[str, Any], streamable: bool) -> None:
    """Tokens, merges, special ids and the chat template. For `streamable` see `gguf.write_model`."""
    tokenizer = read(folder)
    model = tokenizer["model"]
    sentencepiece = bool(model.get("byte_fallback"))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    tokens, types = _tokens(tokenizer, config["vocab_size"], sentencepiece)
    if streamable:
        # A token of the user's reads as it is written.
        written = [_spelled_cut(token, kind, sentencepiece) for token, kind in zip(tokens, types, strict=True)]
        types = [kind if cut is None else TokenType.USER_DEFINED for cut, kind in zip(written, types, strict=True)]
        tokens = [token if cut is None else cut for cut, token in zip(written, tokens, strict=True)]
    if sentencepiece:
        # Their BPE is stored as scores: the earlier a merge, the higher its result.
        ranks = {merge.replace(" ", ""): -float(at) for at, merge in enumerate(merges)}
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([ranks.get(token, -1e6) for token in tokens])
    else:
        rules = json.dumps(tokenizer.get("pre_tokenizer"), ensure_ascii=False)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(next((name for phrase, name in _PRE_TOKENIZERS if phrase in rules), "gpt-2"))
        writer.add_token_merges(merges)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    _special_ids(writer, folder, tokenizer, config)
    template = folder / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text())


def _tokens(tokenizer: Mapping[str, Any], size: int, sentencepiece: bool) -> tuple[list[str], list[TokenType]]:
    tokens = [f"[PAD{at}]" for at in range(size)]
    types = [TokenType.UNUSED] * size
    for token, at in tokenizer["model"]["vocab"].items():
        is_byte = sentencepiece and _BYTE_TOKEN.fullmatch(token)
        tokens[at], types[at] = token, TokenType.BYTE if is_byte else TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    return tokens, types


def _special_ids(writer: GGUFWriter, folder: Path, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    ends = stop_ids(folder, config)
    for key, add in (("bos_token_id", writer.add_bos_token_id), ("pad_token_id", writer.add_pad_token_id)):
        if config.get(key) is not None:
            add(config[key])
    for end, add in zip(ends, (writer.add_eos_token_id, writer.add_eot_token_id), strict=False):
        add(end)
    # The template writes its own first token; a bare text gets one only where the tokenizer itself adds it.
    first = (tokenizer.get("post_processor") or {}).get("special_tokens") or {}
    begins = any(config.get("bos_token_id") in special["ids"] for special in first.values())
    writer.add_add_bos_token(begins)
    writer.add_add_space_prefix(False)


def stop_ids(folder: Path, config: Mapping[str, Any]) -> list[int]:
    """The ids that end an answer, by config.json and then generation_config.json, each once."""
    found: dict[int, None] = {}
    generation = folder / "generation_config.json"
    for source in (config, json.loads(generation.read_bytes()) if generation.is_file() else {}):
        ends = source.get("eos_token_id")
        found.update(dict.fromkeys(ends if isinstance(ends, list) else [] if ends is None else [ends]))
    return list(found)


def _byte_alphabet() -> dict[str, int]:
    """The character that byte-level BPE writes for each byte (GPT-2's table), backwards."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


_ALPHABET = _byte_alphabet()


_PRIVATE = 0xF0000
"""Byte B of a character that several tokens share is the letter for private use at _PRIVATE + B: no text has those."""
_LETTERS = {0xDC00 + byte: _PRIVATE + byte for byte in range(0x80, 0x100)}


def whole_characters(folder: Path) -> frozenset[str]:
    """The characters beyond ASCII that are each a token of their own. Reads the whole tokenizer."""
    tokenizer = read(folder)
    sentencepiece = bool(tokenizer["model"].get("byte_fallback"))
    texts = {_raw(token, sentencepiece).decode(errors="ignore") for token in tokenizer["model"]["vocab"]}
    texts |= {added["content"] for added in tokenizer["added_tokens"] if not added["special"]}
    return frozenset(text for text in texts if len(text) == 1 and not text.isascii())


def spelled(text: str, whole: frozenset[str]) -> str:
    """The text as the tokens of a `streamable` file spell it: what no token has whole is written byte by byte."""
    return "".join(
        character
        if character.isascii() or character in whole
        else "".join(chr(_PRIVATE + byte) for byte in character.encode())
        for character in text
    )


def _spelled_cut(token: str, kind: TokenType, sentencepiece: bool) -> str | None:
    """A token that begins or ends inside a character as `spelled` has it; None for every other token."""
    if kind not in (TokenType.NORMAL, TokenType.BYTE):
        return None
    text = _raw(token, sentencepiece).decode(errors="surrogateescape")
    hidden = text.translate(_LETTERS)
    return None if hidden == text else hidden


def _raw(token: str, sentencepiece: bool) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token) if sentencepiece else None
    if byte:
        return bytes([int(byte[1], 16)])
    if sentencepiece or not set(token) <= _ALPHABET.keys():
        return token.encode()
    return bytes(_ALPHABET[character] for character in token)
