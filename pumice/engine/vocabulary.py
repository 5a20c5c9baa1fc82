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
        cut = [_cuts(*pair) for pair in zip(tokens, types, strict=True)]
        types = [TokenType.USER_DEFINED if each else kind for each, kind in zip(cut, types, strict=True)]
        # Such a token reads as it is written, and byte E9 is written é: no grammar may take it for that letter.
        tokens = [_hidden(token) if each else token for each, token in zip(cut, tokens, strict=True)]
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


def _hidden(token: str) -> str:
    """The token in letters for private use, which no text has."""
    return "".join(chr(0xF0000 + ord(character)) for character in token)


def _cuts(token: str, kind: TokenType) -> bool:
    """Whether the token's bytes begin or end inside a UTF-8 character."""
    byte = _BYTE_TOKEN.fullmatch(token)
    if kind is TokenType.BYTE and byte:
        return int(byte[1], 16) > 0x7F
    if kind is not TokenType.NORMAL or not set(token) <= _ALPHABET.keys():
        return False
    try:
        bytes(_ALPHABET[character] for character in token).decode()
    except UnicodeDecodeError:
        return True
    return False
