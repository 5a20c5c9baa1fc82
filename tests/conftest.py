"""What the tests share: the real default base, resolved once, and a tiny random one with the same tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home for what is dear to make: the unpacked default base and the shared end-to-end run."""
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def base(session_home: Home) -> Base:
    """The default base, as a user's first run resolves it."""
    return resolve.resolve(resolve.DEFAULT, session_home)


@pytest.fixture(scope="session")
def tiny(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random two-layer Llama with the default base's tokenizer and template."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=base.vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base.folder / name, folder / name)
    return resolve.describe(folder, "tiny", f"folder:{folder}")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home")
