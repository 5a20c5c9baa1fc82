"""A base that nobody trained: a tokenizer made from the data, a Llama-shaped configuration and random weights.

Everything follows from the data, the size, the window and the seed. Needs no torch and knows no training.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pumice.bases.describe import describe, read_config
from pumice.data.render.learn import Learned, learn
from pumice.engine import tensors
from pumice.records import Base
from pumice.store.files import write_atomic
from pumice.train.artifact import FROM_BASE
from pumice.train.methods import Pretrain

SOURCE = "new:"
"""Source of a base that was made here out of nothing; what is trained from it stands on itself."""
WINDOW = 512
"""Tokens that a new model sees at once, where the recipe has no `max_length`."""
SPREAD = 0.02
"""Standard deviation of the first weights (Radford et al. 2019)."""


class Shape(NamedTuple):
    """The sizes of a Llama-shaped model."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int

    def parameters(self, vocabulary: int) -> int:
        """Its weights; the output layer is the embeddings."""
        layer = 4 * self.hidden**2 + 3 * self.hidden * self.feed_forward + 2 * self.hidden
        return vocabulary * self.hidden + self.layers * layer + self.hidden


SHAPES = {
    "1M": Shape(96, 2, 3, 256),
    "10M": Shape(256, 10, 4, 704),
    "50M": Shape(512, 14, 8, 1376),
    "100M": Shape(768, 13, 12, 2048),
    "350M": Shape(1024, 27, 16, 2752),
}
"""By the names that they have with a vocabulary of 8,192 tokens."""


def new_base(knobs: Pretrain, window: int, seed: int, texts: Iterable[str], folder: Path) -> Base:
    """Make the untrained base in `folder`, whatever lies there; the same one for the same values."""
    with made_whole(folder) as part:
        tokens = learn(texts, knobs.vocabulary, part)
        config = configuration(SHAPES[knobs.size], tokens, window)
        write_atomic(part / "config.json", json.dumps(config, indent=2) + "\n")
        write_weights(config, seed, part)
    return as_base(knobs, folder)


def untrained(knobs: Pretrain, seed: int, trained: Path, folder: Path) -> Base:
    """What the model in the folder `trained` was before its training, once more, in `folder`."""
    with made_whole(folder) as part:
        for name in ("config.json", *FROM_BASE):
            if (trained / name).is_file():
                shutil.copy(trained / name, part / name)
        write_weights(read_config(part), seed, part)
    return as_base(knobs, folder)


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which then takes the place of `folder`."""
    part = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def as_base(knobs: Pretrain, folder: Path) -> Base:
    """The record of an untrained base."""
    return describe(folder, f"untrained-{knobs.size}", f"{SOURCE}{knobs.size}")


def configuration(shape: Shape, tokens: Learned, window: int) -> dict[str, Any]:
    """`config.json` as transformers reads it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.hidden // shape.heads,
        "vocab_size": tokens.size,
        "max_position_embeddings": window,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": SPREAD,
        "bos_token_id": tokens.begin,
        "eos_token_id": tokens.end,
        "pad_token_id": tokens.pad,
        "use_cache": True,
        "dtype": "float32",
    }


def write_weights(config: dict[str, Any], seed: int, folder: Path) -> None:
    """Random weights from `seed`, one tensor after the other."""
    shapes = list(weights(config))
    dice = np.random.default_rng(seed)
    # What is added to the residual stream is made smaller the more often that happens (Radford et al. 2019).
    added = SPREAD / math.sqrt(2 * config["num_hidden_layers"])

    def values() -> Iterator[tensors.Array]:
        for name, shape in shapes:
            if len(shape) == 1:
                yield np.ones(shape, np.float32)
            else:
                spread = added if name.endswith(("o_proj.weight", "down_proj.weight")) else SPREAD
                yield dice.standard_normal(shape, np.float32) * np.float32(spread)

    tensors.write(folder / "model.safetensors", [(name, "F32", shape) for name, shape in shapes], values())


def weights(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a Llama with tied embeddings, with its shape."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        yield from ((f"{prefix}.self_attn.{each}_proj.weight", (hidden, hidden)) for each in "qkvo")
        yield from ((f"{prefix}.mlp.{each}_proj.weight", (inner, hidden)) for each in ("gate", "up"))
        yield f"{prefix}.mlp.down_proj.weight", (hidden, inner)
        yield from ((f"{prefix}.{each}_layernorm.weight", (hidden,)) for each in ("input", "post_attention"))
    yield "model.norm.weight", (hidden,)
