"""One function for every side's adapter: the mean loss of the answers' tokens.

    python -m benchmarks.sides.judge BASE ROWS ADAPTER...

ROWS is JSON, `[[ids, labels], ...]`. Prints a JSON list with a loss for each adapter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main() -> None:
    """Load, judge, print."""
    base, rows, *adapters = sys.argv[1:]
    judged = [tuple(torch.tensor([part]) for part in row) for row in json.loads(Path(rows).read_text())]
    losses = []
    for adapter in adapters:
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
        model = PeftModel.from_pretrained(plain, adapter).eval()
        total = count = 0.0
        with torch.inference_mode():
            for ids, labels in judged:
                learned = int((labels[:, 1:] != -100).sum())
                total += float(model(input_ids=ids, labels=labels).loss) * learned
                count += learned
        losses.append(total / count)
    print(json.dumps(losses))


if __name__ == "__main__":
    main()
