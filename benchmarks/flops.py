"""What a step of LoRA on a Llama-like model must compute, in operations (a product and a sum are two).

For each token, forward and back: 2 for each weight that is multiplied, 2 more for its input's gradient, and 6 for each
weight of the adapter. The first layer's q, k and v need no gradient of their input. Attention sees only what lies
before a token in its row: 4 for each number of a head on the way forward, 8 on the way back. The head is paid, 4 for
each of its weights, only where there is a label. Norms, rotations, softmax, the optimizer and whatever a trainer
computes twice count nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pumice.records import Tokens


def step_flops(base: Path, r: int, rows: Sequence[Tokens]) -> float:
    """Operations of one step on these rows, with an adapter of rank `r` on every linear layer."""
    config = json.loads((base / "config.json").read_text("utf-8"))
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    size = config.get("head_dim") or width // config["num_attention_heads"]
    queries, keys = (size * config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    from_input = [(width, queries), (width, keys), (width, keys)]
    linear = [*from_input, (queries, width), (width, inner), (width, inner), (inner, width)]

    weights = sum(into * out for into, out in linear)
    adapter = sum(r * (into + out) for into, out in linear)
    untouched = 2 * sum(into * out + r * into for into, out in from_input)
    token = layers * (4 * weights + 6 * adapter) - untouched

    tokens = sum(len(row.ids) for row in rows)
    pairs = sum(len(row.ids) * (len(row.ids) + 1) // 2 for row in rows)
    labels = sum(label != -100 for row in rows for label in row.labels[1:])
    return float(tokens * token + pairs * layers * 12 * queries + labels * 4 * width * config["vocab_size"])
