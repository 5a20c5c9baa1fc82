"""Every family that is converted computes in llama.cpp what it computes in transformers; the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_room import LINEAR, check_against, collect, copy_of, ids_of, rewrite
from gguf import GGUFReader
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from pumice.data.render import Renderer
from pumice.engine import gguf, llamacpp, merge
from pumice.errors import InputError
from pumice.records import Base

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA: dict[str, Any] = {"query_pre_attn_scalar": 16, "sliding_window": 8}
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "llama tied, llama3 rope, biases": LlamaConfig(
        **SIZES, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3
    ),
    "llama, linear rope": LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    ),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "gemma2": Gemma2Config(**SIZES, **GEMMA),
    "gemma3": Gemma3TextConfig(**{**SIZES, **GEMMA, "num_hidden_layers": 7}),
}
PROMPT = [7, 81, 300, 44, 95, 210, 12, 33, 150, 151, 9, 77, 18, 19, 250]


@pytest.mark.parametrize("family", FAMILIES)
async def test_llama_cpp_computes_what_transformers_does(
    family: str,
    tmp_path: Path,
    make_model: Callable[..., Path],
    make_adapter: Callable[..., Path],
    reference: Callable[..., list[list[float]]],
) -> None:
    folder = make_model(FAMILIES[family])
    adapter = make_adapter(folder)
    engine = await llamacpp.start(folder, cache=tmp_path, quant="f32", slots=1, threads=1)
    await engine.load_adapter("mine", adapter)
    change = np.subtract(reference(folder, PROMPT, adapter), reference(folder, PROMPT))
    assert np.abs(change).max() > 0.3
    for name, over in ((None, None), ("mine", adapter)):
        deltas = await collect(engine, PROMPT, name, logprobs=5)
        check_against(reference(folder, PROMPT + ids_of(deltas), over), PROMPT, deltas, 2e-3)
    await engine.stop()


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {
            "rank_pattern": {"q_proj": 2, r"layers\.1\..*up_proj": 8},
            "alpha_pattern": {"q_proj": 3, r".*layers\.0\..*": 1},
        },
    ],
)
async def test_every_way_to_scale_a_lora_arrives(
    settings: dict[str, Any],
    tiny: Base,
    tmp_path: Path,
    make_adapter: Callable[..., Path],
    reference: Callable[..., list[list[float]]],
    cache: Path,
) -> None:
    adapter = make_adapter(tiny.folder, 5, 0.3, **settings)
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=1, threads=1)
    await engine.load_adapter("mine", adapter)
    deltas = await collect(engine, PROMPT, "mine", logprobs=3)
    await engine.stop()
    check_against(reference(tiny.folder, PROMPT + ids_of(deltas), adapter), PROMPT, deltas)


@pytest.mark.parametrize(("quant", "worst"), [("f32", 2e-3), ("f16", 0.05), ("q8_0", 0.5), ("q4_0", 6.0)])
async def test_the_real_model_stays_as_near_as_its_quantisation_allows(
    quant: gguf.Quant, worst: float, base: Base, tmp_path: Path, reference: Callable[..., list[list[float]]]
) -> None:
    renderer = Renderer(base.folder)
    prompt = renderer.prompt([{"role": "user", "content": "Where is the Louvre?"}])
    engine = await llamacpp.start(base.folder, cache=tmp_path, quant=quant, context=256, slots=1, threads=1)
    deltas = await collect(engine, prompt, max_tokens=24, logprobs=3)
    await engine.stop()
    rows = reference(base.folder, prompt + ids_of(deltas))[len(prompt) - 1 :]
    tokens = [logprob for delta in deltas for logprob in delta.logprobs]
    assert len(tokens) == 24
    errors = [abs(row[token.id] - token.logprob) for row, token in zip(rows, tokens, strict=False)]
    assert 0 < max(errors) < worst
    agreed = [row[token.id] == max(row) for row, token in zip(rows, tokens, strict=False)]
    assert sum(agreed) >= {"f32": 24, "f16": 24, "q8_0": 22, "q4_0": 12}[quant]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_read_exactly(
    dtype: torch.dtype, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_model(FAMILIES["qwen3"], dtype)
    gguf.write_model(folder, tmp_path / "half.gguf", "f32")
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "half.gguf").tensors}
    embedding = torch.from_numpy(np.array(tensors["token_embd.weight"]))
    assert embedding.abs().sum() > 0
    assert torch.equal(embedding, embedding.to(dtype).float())


def test_the_file_carries_template_tokens_and_name(tiny: Base, tmp_path: Path) -> None:
    gguf.write_model(tiny.folder, tmp_path / "tiny.gguf", "q8_0")
    fields = {name: field.contents() for name, field in GGUFReader(tmp_path / "tiny.gguf").fields.items()}
    assert fields["tokenizer.chat_template"] == (tiny.folder / "chat_template.jinja").read_text()
    assert fields["tokenizer.ggml.tokens"][504] == "The"
    assert fields["tokenizer.ggml.eos_token_id"] == 2
    assert fields["llama.context_length"] == 512
    assert fields["general.name"] == tiny.folder.name
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny.gguf"]


def test_only_a_streamable_file_marks_tokens_that_cut_a_character(tiny: Base, tmp_path: Path) -> None:
    kinds = {}
    for streamable in (False, True):
        gguf.write_model(tiny.folder, tmp_path / "tiny.gguf", "q8_0", streamable=streamable)
        fields = GGUFReader(tmp_path / "tiny.gguf").fields
        kinds[streamable] = fields["tokenizer.ggml.token_type"].contents()
    renderer = Renderer(tiny.folder)
    changed = {at for at, (one, other) in enumerate(zip(kinds[False], kinds[True], strict=True)) if one != other}
    cutting = {at for at in range(17, tiny.vocabulary) if "\ufffd" in renderer.decode([at])}
    assert changed == cutting - set(renderer.encode("\ufffd")) != set()


def break_config(folder: Path, **changes: Any) -> None:
    rewrite(folder / "config.json", **changes)


def break_tokenizer(folder: Path) -> None:
    rewrite(folder / "tokenizer.json", model={"type": "Unigram", "vocab": []})


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda folder: break_config(folder, architectures=["FalconForCausalLM"]), "architecture is FalconForCausalLM"),
        (lambda folder: break_config(folder, hidden_act="gelu"), "activation is gelu"),
        (lambda folder: break_config(folder, rope_parameters={"rope_type": "yarn"}), "rotary scaling is yarn"),
        (lambda folder: break_config(folder, rms_norm_eps=None), "config.json has no rms_norm_eps"),
        (lambda folder: break_config(folder, quantization_config={"bits": 4}), "weights are quantised"),
        (lambda folder: break_config(folder, use_sliding_window=True), "slides its attention window"),
        (break_tokenizer, "tokenizer is Unigram"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
    ],
)
def test_what_llama_cpp_would_get_wrong_is_refused(
    broken: Callable[[Path], None], reason: str, tiny: Base, tmp_path: Path
) -> None:
    folder = copy_of(tiny.folder, tmp_path / "model")
    assert gguf.can_convert(folder) is None
    broken(folder)
    assert reason in (gguf.can_convert(folder) or "")
    with pytest.raises(InputError, match=reason):
        gguf.write_model(folder, tmp_path / "out.gguf", "f32")
    assert not (tmp_path / "out.gguf").exists()


def test_an_unusual_gemma_is_refused(make_model: Callable[..., Path]) -> None:
    scaled = make_model(Gemma2Config(**{**SIZES, **GEMMA, "query_pre_attn_scalar": 24}))
    assert "attention is scaled" in (gguf.can_convert(scaled) or "")
    layers = make_model(Gemma2Config(**SIZES, **GEMMA, layer_types=["full_attention"] * 2))
    assert "alternate attention in an unknown pattern" in (gguf.can_convert(layers) or "")


def test_llama_cpp_gets_no_lengths(
    make_model: Callable[..., Path], make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    """A DoRA can be merged, but not be laid beside a base."""
    folder = make_model(FAMILIES["llama"])
    with pytest.raises(InputError, match="use_dora"):
        gguf.write_adapter(make_adapter(folder, use_dora=True), folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fold", [gguf.write_adapter, lambda a, b, out: merge.merge(b, a, out)])
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"modules_to_save": ["norm"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"target_modules": [*LINEAR, "embed_tokens"]}, "lora_embedding"),
    ],
)
def test_an_adapter_that_is_more_than_lora_is_refused(
    fold: Callable[[Path, Path, Path], None],
    settings: dict[str, Any],
    reason: str,
    make_model: Callable[..., Path],
    make_adapter: Callable[..., Path],
    tmp_path: Path,
) -> None:
    folder = make_model(FAMILIES["qwen2"] if settings.get("bias") else FAMILIES["llama"])
    adapter = make_adapter(folder, **settings)
    with pytest.raises(InputError, match=reason):
        fold(adapter, folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fold", [gguf.write_adapter, lambda a, b, out: merge.merge(b, a, out)])
def test_an_adapter_of_another_base_is_refused(
    fold: Callable[[Path, Path, Path], None],
    tiny: Base,
    tiny_adapters: dict[str, Path],
    make_model: Callable[..., Path],
    tmp_path: Path,
) -> None:
    narrow = make_model(LlamaConfig(**{**SIZES, "intermediate_size": 64}))
    with pytest.raises(InputError, match="does not fit the base"):
        fold(tiny_adapters["left"], narrow, tmp_path / "out")
    shallow = make_model(LlamaConfig(**{**SIZES, "intermediate_size": 128, "num_hidden_layers": 1}))
    with pytest.raises(InputError, match="does not hold"):
        fold(tiny_adapters["left"], shallow, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning")
@pytest.mark.parametrize("fold", [gguf.write_adapter, lambda a, b, out: merge.merge(b, a, out)])
def test_an_adapter_of_a_tied_output_layer_is_refused(
    fold: Callable[[Path, Path, Path], None], tiny: Base, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    adapter = make_adapter(tiny.folder, target_modules=["lm_head"])
    with pytest.raises(InputError, match="shares this weight with its embedding"):
        fold(adapter, tiny.folder, tmp_path / "out")
