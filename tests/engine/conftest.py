"""Small random models, adapters over them, and transformers in this process as the reference for every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import pytest_asyncio
import torch
from engine_room import LINEAR, peft_reads_an_old_name
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedConfig

from pumice.engine import hf, llamacpp
from pumice.engine.hf import Transformers
from pumice.engine.llamacpp import LlamaCpp
from pumice.records import Base


@pytest.fixture(scope="session")
def small_tokenizer() -> Tokenizer:
    """A byte-level BPE tokenizer of a few hundred tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the light stone floats on the water and the heavy one does not"] * 9, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Tokenizer) -> Callable[..., Path]:
    """Saves a random model of a configuration with the small tokenizer; `dtype` is that of the stored weights."""

    def make(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> Path:
        folder = tmp_path_factory.mktemp("model")
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name:
                    weight.add_(torch.randn_like(weight) * 0.1)
        model.to(dtype).save_pretrained(folder)
        small_tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
        return folder

    return make


@pytest.fixture(scope="session")
def make_adapter(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a random adapter over a model's folder; `settings` are peft's."""

    def make(folder: Path, seed: int = 0, strength: float = 0.15, **settings: Any) -> Path:
        out = tmp_path_factory.mktemp("adapter")
        chosen: dict[str, Any] = {"r": 4, "lora_alpha": 12, "target_modules": LINEAR, "task_type": "CAUSAL_LM"}
        config = peft.LoraConfig(**{**chosen, **settings})
        bare = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with peft_reads_an_old_name():
            model = peft.get_peft_model(bare, config)
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_" in name:
                    weight.copy_(torch.randn_like(weight) * strength)
        model.save_pretrained(out, save_embedding_layers=False)
        return out

    return make


@pytest.fixture(scope="session")
def reference() -> Callable[..., list[list[float]]]:
    """Log-probabilities of every next token after each of `ids`, by transformers and peft in this process."""

    def run(folder: Path, ids: Sequence[int], adapter: Path | None = None) -> list[list[float]]:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        if adapter is not None:
            with peft_reads_an_old_name():
                model = peft.PeftModel.from_pretrained(model, adapter)
        with torch.no_grad():
            logits = model.eval()(torch.tensor([list(ids)])).logits[0]
        found: list[list[float]] = logits.log_softmax(-1).tolist()
        return found

    return run


@pytest.fixture(scope="session")
def tiny_adapters(tiny: Base, make_adapter: Callable[..., Path]) -> dict[str, Path]:
    """Two adapters over the tiny base that pull its answers far apart."""
    return {name: make_adapter(tiny.folder, seed, 0.3) for seed, name in enumerate(("left", "right"))}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of converted weights for all engine tests."""
    return tmp_path_factory.mktemp("cache")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def exact(tiny: Base, tiny_adapters: dict[str, Path], cache: Path) -> AsyncIterator[LlamaCpp]:
    """llama.cpp on the tiny base in full precision, with both adapters."""
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=4, threads=1)
    for name, folder in tiny_adapters.items():
        await engine.load_adapter(name, folder)
    yield engine
    await engine.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plain(tiny: Base, tiny_adapters: dict[str, Path], cache: Path) -> AsyncIterator[Transformers]:
    """transformers on the tiny base, with both adapters."""
    engine = await hf.start(tiny.folder, cache=cache, threads=1)
    for name, folder in tiny_adapters.items():
        await engine.load_adapter(name, folder)
    yield engine
    await engine.stop()
