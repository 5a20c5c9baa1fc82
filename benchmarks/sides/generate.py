"""transformers' `generate` in fp32 on the same prompts: `python -m benchmarks.sides.generate ORDER`.

ORDER is JSON: `base`, `threads`, and for each turn its `prompts`: `alone`, `together`, `short` and `long`. Eight at
once are one batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.sides.gate import Gate


def main() -> None:
    """Tell rates and seconds, turn after turn."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    gate = Gate()
    model: Any = AutoModelForCausalLM.from_pretrained(order["base"], dtype=torch.float32)

    def generate(prompts: Sequence[Sequence[int]], tokens: int) -> float:
        began = time.perf_counter()
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                pad_token_id=0,
            )
        return time.perf_counter() - began

    gate.tell(ready=1)
    for prompts in order["turns"]:
        gate.wait()
        first = generate([prompts["alone"]], 1)
        whole = generate([prompts["alone"]], order["tokens"])
        told = {"tokens/s": (order["tokens"] - 1) / (whole - first)}
        for name in ("together", "short"):
            told[name] = len(prompts[name]) * order["few"] / generate(prompts[name], order["few"])
        gate.tell(**told, **{"first token s": generate([prompts["long"]], 1)})
    gate.wait()


if __name__ == "__main__":
    main()
