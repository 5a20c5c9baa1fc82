"""The fast path gives what the slow path gives: attention row by row, and the loss of labels with its gradients."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    FalconMambaConfig,
    FalconMambaForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pumice.train.fast import losses, segments

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
PLAIN = {key: value for key, value in SMALL.items() if key not in ("num_key_value_heads", "head_dim")}
SLIDING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "sliding mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)),
    "gemma 3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SMALL, **SLIDING)),
    "qwen 3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL)),
    "phi 3": lambda: Phi3ForCausalLM(Phi3Config(**SMALL)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**PLAIN)),
    "gpt 2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
}


def packed(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rows as the collator lays them end to end."""
    borders = torch.tensor([0, *accumulate(len(row) for row in rows)], dtype=torch.int32)
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    return {"input_ids": torch.cat(rows)[None], "position_ids": positions, "cu_seq_lens_q": borders}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_rows_end_to_end_see_only_themselves(name: str) -> None:
    torch.manual_seed(0)
    model: PreTrainedModel = MODELS[name]().eval()
    assert segments.why_not_packed(model) == ""
    rows = [torch.randint(1, 97, (length,)) for length in (9, 1, 14, 3)]
    with torch.no_grad():
        alone = [model(row[None], use_cache=False).logits[0] for row in rows]
        model.set_attn_implementation(segments.ATTENTION)
        together = model(**packed(rows), use_cache=False).logits[0]
    borders = packed(rows)["cu_seq_lens_q"].tolist()
    for (start, end), expected in zip(pairwise(borders), alone, strict=True):
        torch.testing.assert_close(together[start:end], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("heads", [2, 6])
def test_attention_in_blocks_and_its_gradients_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, window: int | None, heads: int
) -> None:
    monkeypatch.setattr(segments, "BLOCK", 5)
    torch.manual_seed(0)
    given = [torch.randn(1, count, 30, 8, requires_grad=True) for count in (6, heads, heads)]
    borders = torch.tensor([0, 1, 18, 30], dtype=torch.int32)
    slope = torch.randn(1, 30, 6, 8)
    module = torch.nn.Identity()

    def found(dropout: float) -> list[torch.Tensor]:
        out, _ = segments.segments(
            module, *given, None, scaling=0.3, dropout=dropout, sliding_window=window, cu_seq_lens_q=borders
        )
        return [out, *torch.autograd.grad(out, given, slope)]

    # With a chance of dropout that drops nothing, torch's own attention computes.
    for got, expected in zip(found(0.0), found(1e-12), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_models_whose_rows_would_leak_are_named() -> None:
    sizes = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2}
    mamba = FalconMambaForCausalLM(FalconMambaConfig(**sizes))
    assert segments.why_not_packed(mamba) in (
        "falcon_mamba brings its own attention",
        "falcon_mamba carries a state from token to token",
    )
    gemma = Gemma2ForCausalLM(Gemma2Config(**SMALL))
    assert segments.why_not_packed(gemma) == "gemma2 caps its attention scores"
    assert not losses.plain_head(gemma)


@pytest.mark.parametrize("count", [1, losses.CHUNK, 2 * losses.CHUNK + 17])
@pytest.mark.parametrize("bias", [False, True])
def test_the_loss_of_labels_and_its_gradients_are_those_of_cross_entropy(count: int, bias: bool) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 101, bias=bias)
    hidden = torch.randn(1, count + 40, 16, requires_grad=True)
    given = torch.full((1, count + 40), -100)
    given[0, torch.randperm(count + 39)[:count] + 1] = torch.randint(0, 101, (count,))
    wanted = [hidden, *head.parameters()]

    def slopes(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss / 3, wanted))

    plain = F.cross_entropy(head(hidden[0, :-1]), given[0, 1:], reduction="sum")
    loss = losses.label_loss(hidden, head, given)
    torch.testing.assert_close(loss, plain)
    for got, expected in zip(slopes(loss), slopes(plain), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("trained", [False, True])
def test_the_logprobs_of_labels_and_their_gradients_are_those_of_log_softmax(
    monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    monkeypatch.setattr(losses, "CHUNK", 7)
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 101).requires_grad_(trained)
    hidden, labels = torch.randn(20, 16, requires_grad=True), torch.randint(0, 101, (20,))
    # One that is all but impossible, and one that is all but certain.
    with torch.no_grad():
        hidden[3] *= 60
    labels[3] = head(hidden[3]).argmin()
    wanted = [hidden, *(head.parameters() if trained else ())]
    plain = head(hidden).log_softmax(1).gather(1, labels[:, None])[:, 0]
    found = losses.label_logprobs(hidden, head, labels)
    torch.testing.assert_close(found, plain)
    weights = torch.randn(20)
    for got, expected in zip(
        torch.autograd.grad(found @ weights, wanted), torch.autograd.grad(plain @ weights, wanted), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_a_frozen_head_gets_no_gradient_and_no_work() -> None:
    head = torch.nn.Linear(16, 101, bias=False).requires_grad_(False)
    hidden = torch.randn(1, 5, 16, requires_grad=True)
    losses.label_loss(hidden, head, torch.tensor([[-100, 3, -100, 7, 9]])).backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
    # A label at place i is predicted from the token before it.
    assert [bool(row.any()) for row in hidden.grad[0]] == [True, False, True, True, False]
