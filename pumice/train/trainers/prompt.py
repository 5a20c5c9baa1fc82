"""Readies prompt tuning. Knows peft."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import torch
from peft import PromptTuningConfig

from pumice.data.render import Renderer
from pumice.train.methods import Prompt
from pumice.train.trainers.parts import Parts
from pumice.train.trainers.soft import in_front, random_words


def prepare(model: Any, parts: Parts) -> Any:
    """Vectors that start as those of words, or those that go on."""
    knobs = parts.recipe.weights
    assert isinstance(knobs, Prompt)
    # peft's own start from a text makes ids by itself, and keeps the way to its tokenizer in the adapter.
    tuned = in_front(model, PromptTuningConfig(num_virtual_tokens=knobs.tokens, task_type="CAUSAL_LM"), parts)
    if parts.adapter is None:
        ids = random_words(model, knobs.tokens)
        if knobs.text is not None:
            words = Renderer(parts.base.folder).encode(knobs.text)
            ids = torch.tensor(list(islice(cycle(words), knobs.tokens)), device=model.device)
        with torch.no_grad():
            tuned.prompt_encoder["default"].embedding.weight.copy_(model.get_input_embeddings()(ids))
    return tuned
