"""Hugging Face folders and peft LoRA folders as GGUF files, with numpy and `gguf` alone, tensor by tensor.

Tensors are byte-identical to those of llama.cpp's own converter. This module knows no engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, LlamaFileType, RopeScalingType, TensorNameMap
from numpy.typing import NDArray

from pumice.bases.classifiers import classifies
from pumice.engine import lora, vocabulary
from pumice.engine.adapter import read_config
from pumice.engine.tensors import Array, Entry, folder_entries, replacing
from pumice.errors import InputError

Quant = Literal["f32", "f16", "q8_0", "q4_0"]
_QUANTS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
_BLOCK = 32
"""Values that share one scale in q8_0 and q4_0; rows must divide into blocks."""


@dataclass(frozen=True)
class Architecture:
    """How one family of models differs on its way into a GGUF file."""

    arch: MODEL_ARCH
    activation: str
    """The one that llama.cpp has built in."""
    interleaved: bool = False
    """llama.cpp rotates neighbouring dimensions, so the rows of q and k change places."""
    norm_plus_one: bool = False
    """The stored norm weights are offsets from 1."""
    full_every: int = 0
    """Every how many layers attention sees the whole window; 0 = all do."""


ARCHITECTURES = {
    "LlamaForCausalLM": Architecture(MODEL_ARCH.LLAMA, "silu", interleaved=True),
    "MistralForCausalLM": Architecture(MODEL_ARCH.LLAMA, "silu", interleaved=True),
    "Qwen2ForCausalLM": Architecture(MODEL_ARCH.QWEN2, "silu"),
    "Qwen3ForCausalLM": Architecture(MODEL_ARCH.QWEN3, "silu"),
    "Gemma2ForCausalLM": Architecture(MODEL_ARCH.GEMMA2, "gelu_pytorch_tanh", norm_plus_one=True, full_every=2),
    "Gemma3ForCausalLM": Architecture(MODEL_ARCH.GEMMA3, "gelu_pytorch_tanh", norm_plus_one=True, full_every=6),
}
_NEEDED = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "rms_norm_eps",
    "vocab_size",
)


def can_convert(folder: Path) -> str | None:
    """Why llama.cpp cannot run the model in this folder, as half a sentence; None when it can. Reads no weights."""
    config = _read_config(folder)
    name = next(iter(config.get("architectures") or []), None)
    if classifies(name):
        return "it is a classifier, and llama.cpp runs models that write"
    if name not in ARCHITECTURES:
        return f"its architecture is {name}, and only {', '.join(ARCHITECTURES)} can be converted"
    missing = [key for key in _NEEDED if config.get(key) is None]
    if missing:
        return f"its config.json has no {missing[0]}"
    if config.get("quantization_config"):
        return "its weights are quantised"
    return (
        _shape_refusal(ARCHITECTURES[name], config)
        or vocabulary.refusal(folder)
        or next(
            (f"it holds {entry.name} as {entry.dtype}" for entry in folder_entries(folder) if not entry.plain), None
        )
    )


def window(folder: Path) -> int:
    """How many tokens llama.cpp can see at once with this model."""
    config = _read_config(folder)
    return _window(config, ARCHITECTURES[config["architectures"][0]])


def write_model(folder: Path, out: Path, quant: Quant, *, streamable: bool = False) -> None:
    """The model of a Hugging Face folder as one GGUF file with its tokenizer and chat template; whole or not at all.

    `streamable` marks tokens that cut a UTF-8 character so that llama-server streams them at once: it would hold them
    back and lose their ids. Use it for ids alone, as the marked file detokenises such characters wrongly.
    Raises InputError for what `can_convert` names.
    """
    reason = can_convert(folder)
    if reason:
        raise InputError(f"{folder} cannot become a GGUF file: {reason}.", "", "Export it as safetensors.")
    config = _read_config(folder)
    architecture = ARCHITECTURES[config["architectures"][0]]
    blocks = _plan(folder, config, architecture, quant)
    with replacing(out) as part:
        writer = GGUFWriter(part, gguf.MODEL_ARCH_NAMES[architecture.arch])
        _write_facts(writer, folder, config, architecture)
        vocabulary.write(writer, folder, config, streamable)
        writer.add_file_type(_QUANTS[quant][1])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        rope = _llama3_factors(config)
        if rope is not None:
            blocks.insert(0, Block("rope_freqs.weight", GGMLQuantizationType.F32, rope.shape, rope))
        _write_blocks(writer, blocks)


def write_adapter(adapter: Path, base: Path, out: Path) -> None:
    """A peft LoRA folder as a GGUF adapter for the base's GGUF file, float32; whole or not at all.

    Raises InputError when the adapter is more than plain LoRA, or adapts what the base does not have.
    """
    config = _read_config(base)
    architecture = ARCHITECTURES[config["architectures"][0]]
    names = gguf.get_tensor_name_map(architecture.arch, config["num_hidden_layers"])
    alpha = float(read_config(adapter)["lora_alpha"])
    blocks = []
    for pair in lora.fitting_pairs(adapter, base):
        name = _gguf_name(names, f"{pair.module}.weight", adapter)
        # llama.cpp scales by alpha / rank; rsLoRA and single modules' alphas are folded into B.
        factor = pair.scale / (alpha / pair.a.shape[0])
        heads = _rotated_heads(architecture, config, pair.module + ".")
        blocks.append(Block(f"{name}.lora_a", GGMLQuantizationType.F32, pair.a.shape, pair.a))
        blocks.append(Block(f"{name}.lora_b", GGMLQuantizationType.F32, pair.b.shape, pair.b, heads, factor=factor))
    with replacing(out) as part:
        writer = GGUFWriter(part, gguf.MODEL_ARCH_NAMES[architecture.arch])
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        _write_blocks(writer, blocks)


@dataclass(frozen=True)
class Block:
    """One tensor on its way into the file: `values * factor + offset`, rows in llama.cpp's order."""

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    source: Entry | Array
    heads: int = 0
    """The rows of so many heads change to the interleaved rotary order; 0 = none."""
    offset: float = 0.0
    factor: float = 1.0

    def stored(self) -> NDArray[Any]:
        """The tensor as it lies in the file."""
        values = self.source.read() if isinstance(self.source, Entry) else self.source
        values = (
            values * np.float32(self.factor) + np.float32(self.offset)
            if (self.factor, self.offset) != (1, 0)
            else values
        )
        if self.heads:
            halves = values.reshape(self.heads, 2, values.shape[0] // self.heads // 2, *values.shape[1:])
            values = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
        if self.kind is GGMLQuantizationType.F32:
            return values
        if self.kind is GGMLQuantizationType.F16:
            return values.astype(np.float16)
        return np.asarray(gguf.quants.quantize(values, self.kind))

    @property
    def size(self) -> int:
        """Bytes in the file."""
        values, size = gguf.GGML_QUANT_SIZES[self.kind]
        return math.prod(self.shape) // values * size


def _plan(folder: Path, config: Mapping[str, Any], architecture: Architecture, quant: Quant) -> list[Block]:
    names = gguf.get_tensor_name_map(architecture.arch, config["num_hidden_layers"])
    blocks = []
    for entry in folder_entries(folder):
        tied = entry.name == "lm_head.weight" and config.get("tie_word_embeddings")
        if "rotary_emb" in entry.name or tied:
            continue
        name = _gguf_name(names, entry.name, folder)
        plus_one = architecture.norm_plus_one and entry.name.endswith("norm.weight")
        heads = _rotated_heads(architecture, config, entry.name)
        blocks.append(Block(name, _kind(name, entry.shape, quant), entry.shape, entry, heads, float(plus_one)))
    return blocks


def _kind(name: str, shape: tuple[int, ...], quant: Quant) -> GGMLQuantizationType:
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    wanted = _QUANTS[quant][0]
    if quant == "q4_0" and name.startswith("token_embd"):
        wanted = GGMLQuantizationType.Q8_0
    blocked = wanted not in (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
    return GGMLQuantizationType.F16 if blocked and shape[-1] % _BLOCK else wanted


def _gguf_name(names: TensorNameMap, name: str, folder: Path) -> str:
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise InputError(f"{folder} holds {name}, which llama.cpp does not have.", "", "Serve it with transformers.")
    return found


def _rotated_heads(architecture: Architecture, config: Mapping[str, Any], name: str) -> int:
    if architecture.interleaved and ".q_proj." in name:
        return int(config["num_attention_heads"])
    if architecture.interleaved and ".k_proj." in name:
        return _key_heads(config)
    return 0


def _write_blocks(writer: GGUFWriter, blocks: list[Block]) -> None:
    for block in blocks:
        writer.add_tensor_info(block.name, block.shape, np.dtype(np.float32), block.size, block.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for block in blocks:
        writer.write_tensor_data(block.stored())
    writer.close()


def _write_facts(writer: GGUFWriter, folder: Path, config: Mapping[str, Any], architecture: Architecture) -> None:
    rope = _rope(config)
    writer.add_name(folder.name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(_window(config, architecture))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(_key_heads(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(_theta(config))
    for add in (writer.add_rope_dimension_count, writer.add_key_length, writer.add_value_length):
        add(_head_size(config))
    writer.add_vocab_size(config["vocab_size"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if architecture.full_every:
        writer.add_sliding_window(config["sliding_window"])
        writer.add_rope_freq_base_swa(_sliding_theta(config))
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def _read_config(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_bytes()))


def _key_heads(config: Mapping[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _head_size(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _window(config: Mapping[str, Any], architecture: Architecture) -> int:
    # llama.cpp runs Mistral without its sliding window: the two are equal only as far as the window reaches.
    sliding = None if architecture.full_every or not _slides(config) else config.get("sliding_window")
    return int(min(config["max_position_embeddings"], sliding or math.inf))


def _slides(config: Mapping[str, Any]) -> bool:
    return bool(config.get("use_sliding_window", True))


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary settings of layers that see the whole window; transformers 5 and earlier wrote them differently."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = dict(found.get("full_attention", found))
    return found | {"rope_type": found.get("rope_type") or found.get("type") or "default"}


def _theta(config: Mapping[str, Any]) -> float:
    return float(_rope(config).get("rope_theta") or config.get("rope_theta") or 10000.0)


def _sliding_theta(config: Mapping[str, Any]) -> float:
    sliding = (config.get("rope_parameters") or {}).get("sliding_attention") or {}
    if config["architectures"][0] == "Gemma2ForCausalLM":
        return _theta(config)
    return float(sliding.get("rope_theta") or config.get("rope_local_base_freq") or 10000.0)


def _llama3_factors(config: Mapping[str, Any]) -> Array | None:
    """Llama 3's stretched wavelengths as llama.cpp wants them: what each rotary frequency is divided by."""
    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return None
    size = _head_size(config)
    frequencies = 1 / _theta(config) ** (np.arange(0, size, 2) / size)
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - kept) / rope["factor"] + kept), np.float32)


def _shape_refusal(architecture: Architecture, config: Mapping[str, Any]) -> str | None:
    """What of the family llama.cpp has fixed and this model does otherwise."""
    activation = config.get("hidden_activation") or config.get("hidden_act") or architecture.activation
    layers = config["num_hidden_layers"]
    every = architecture.full_every
    expected = ["sliding_attention" if every and (at + 1) % every else "full_attention" for at in range(layers)]
    differences = {
        f"its activation is {activation}": activation != architecture.activation,
        f"its rotary scaling is {_rope(config)['rope_type']}": _rope(config)["rope_type"]
        not in ("default", "linear", "llama3"),
        "its layers alternate attention in an unknown pattern": every
        and config.get("layer_types", expected) != expected,
        "its sliding window is not known": every and not config.get("sliding_window"),
        "it slides its attention window": not every and bool(config.get("use_sliding_window")),
        "its attention is scaled in an unknown way": every
        and config.get("query_pre_attn_scalar", _head_size(config)) != _head_size(config),
    }
    return next((reason for reason, holds in differences.items() if holds), None)
