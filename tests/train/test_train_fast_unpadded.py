"""Padded batches of judged answers, read as rows end to end, give TRL's log-probabilities and gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_train_fast import MODELS
from trl.trainer.utils import add_fused_lm_head

from pumice.train.fast import parts, segments, unpadded


def batch(lengths: list[int]) -> dict[str, Any]:
    """Rows of these lengths padded behind, whose second halves are labels."""
    torch.manual_seed(2)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(1, 97, (length,))
        mask[row, :length] = 1
        labels[row, length // 2 : length] = ids[row, length // 2 : length]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "use_cache": False}


@pytest.mark.parametrize("name", ["llama", "sliding mistral", "qwen 3"])
def test_logprobs_and_gradients_are_those_of_the_padded_batch(name: str) -> None:
    torch.manual_seed(0)
    theirs = MODELS[name]()
    ours = copy.deepcopy(theirs)
    add_fused_lm_head(theirs)
    add_fused_lm_head(ours)
    ours.set_attn_implementation(segments.ATTENTION)
    unpadded.quicken(ours)
    given = batch([9, 2, 14, 5])
    found = []
    for model in (theirs, ours):
        logprobs = model(**given, fused_lm_head=True).log_probs
        (logprobs.sum(1) * torch.tensor([1.0, -2.0, 0.5, 3.0])).sum().backward()
        found.append((logprobs, [weight.grad for weight in model.parameters()]))
    (expected, slopes), (got, other) = found
    assert got.shape == (4, 13) and bool(got[1, 1:].eq(0).all())
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
    for mine, wanted in zip(other, slopes, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-4, rtol=1e-3)


def test_what_it_does_not_know_is_left_to_trl() -> None:
    model = MODELS["llama"]()
    add_fused_lm_head(model)
    unpadded.quicken(model)
    given = batch([4, 6])
    plain = model(**given)
    assert plain.logits.shape == (2, 6, 97)
    # Whoever gives positions gets TRL's own numbers, which this path leaves out.
    asked = model(**given, position_ids=torch.arange(6)[None], fused_lm_head=True)
    assert bool(asked.log_probs.isfinite().all()) and asked.entropy is None


def test_pairs_stay_together_and_every_row_comes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "TOKENS", 20)
    given = batch([5, 3, 9, 2, 4, 3, 7, 2])
    given = {name: given[name] for name in ("input_ids", "attention_mask")}
    cut = list(parts.pairs(given))
    # Pairs of 9, 6, 16 and 4 tokens.
    assert [count for count, _ in cut] == [2, 2]
    chosen = torch.cat([part["input_ids"][:count] for count, part in cut])
    rejected = torch.cat([part["input_ids"][count:] for count, part in cut])
    assert torch.equal(torch.cat([chosen, rejected]), given["input_ids"])
    monkeypatch.setattr(parts, "TOKENS", 1)
    assert [count for count, _ in parts.pairs(given)] == [1, 1, 1, 1]
