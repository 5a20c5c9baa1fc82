"""How likely a trained model finds texts, without an engine. Knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from pumice.records import Tokens


def loss_on(folder: Path, rows: Sequence[Tokens]) -> float:
    """Mean loss of the model in `folder` over the labels of all rows, nats a token."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    model = model.float().eval().to("cuda" if torch.cuda.is_available() else "cpu")
    total, count = 0.0, 0
    with torch.inference_mode():
        for row in rows:
            logits = model(torch.tensor([row.ids], device=model.device)).logits[0, :-1].float()
            labels = torch.tensor(row.labels[1:], device=model.device)
            total += float(F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
            count += int((labels != -100).sum())
    return total / count
