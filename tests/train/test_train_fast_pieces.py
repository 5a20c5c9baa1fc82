"""Products, norms and gated blocks give what peft and transformers give, and the same gradients, whatever is on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from test_train_fast import SMALL, packed
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pumice.train.fast import blocks, parts, products
from pumice.train.trainers.lora import old_names

NO_HEADS = {key: value for key, value in SMALL.items() if key != "head_dim"}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "llama with biases": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)),
    "qwen 2": lambda: Qwen2ForCausalLM(Qwen2Config(**NO_HEADS)),
    "qwen 3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL)),
    # Other norms and another activation: only its products are quickened.
    "gemma 3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SMALL)),
}
IDS = torch.arange(2, 42).reshape(2, 20)


def adapted(model: PreTrainedModel, **settings: Any) -> PeftModel:
    """The model with a random adapter over all its linear layers."""
    chosen: dict[str, Any] = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    with old_names():
        tuned = get_peft_model(model, LoraConfig(**{**chosen, **settings}))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.2)
    return tuned


def twins(name: str, **settings: Any) -> tuple[Any, Any]:
    """The same model with its adapter twice, the second one quickened."""
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "norm" in key or "bias" in key:
                weight.add_(torch.randn_like(weight) * 0.3)
    plain, quick = (adapted(copy.deepcopy(model), **settings) for _ in range(2))
    blocks.quicken(quick)
    products.quicken(quick)
    return plain, quick


def loss_of(model: Any) -> torch.Tensor:
    loss: torch.Tensor = model(input_ids=IDS, labels=IDS, use_cache=False).loss
    return loss


def check_equal(plain: Any, quick: Any) -> None:
    """The same loss, and the same gradient of every number that is trained."""
    losses = [loss_of(model) for model in (plain, quick)]
    torch.testing.assert_close(losses[1], losses[0], atol=1e-6, rtol=1e-6)
    for loss in losses:
        loss.backward()
    wanted = {name: weight.grad for name, weight in plain.named_parameters() if weight.grad is not None}
    found = {name: weight.grad for name, weight in quick.named_parameters() if weight.grad is not None}
    assert wanted.keys() == found.keys() and wanted
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def steps(loss: torch.Tensor) -> set[str]:
    """The names of all autograd steps behind a loss."""
    names, left = set[str](), [loss.grad_fn]
    seen = set[Any]()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.add(type(node).__name__)
        left += [each for each, _ in node.next_functions]
    return names


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_loss_and_all_gradients_are_the_same(name: str) -> None:
    plain, quick = twins(name)
    wanted = {"ProductBackward"} if name == "gemma 3" else {"ProductBackward", "NormBackward", "GatedBackward"}
    found = steps(loss_of(quick)) & {"ProductBackward", "NormBackward", "GatedBackward"}
    assert found == wanted
    check_equal(plain, quick)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"lora_bias": True},
        {"target_modules": ["q_proj", "up_proj"]},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 1}},
        {"modules_to_save": ["norm"]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_relatives_of_lora_are_the_same(settings: dict[str, Any]) -> None:
    check_equal(*twins("llama", **settings))


def test_dropout_is_peft_s_own() -> None:
    plain, quick = twins("llama", lora_dropout=0.5)
    losses = []
    for model in (plain, quick):
        torch.manual_seed(3)
        losses.append(loss_of(model.train()))
    assert "ProductBackward" not in steps(losses[1])
    assert losses[0].item() == losses[1].item()
    check_equal(plain.eval(), quick.eval())
    assert "ProductBackward" in steps(loss_of(quick))


def test_all_weights_can_be_trained() -> None:
    torch.manual_seed(0)
    plain = MODELS["llama"]()
    quick = copy.deepcopy(plain)
    blocks.quicken(quick)
    check_equal(plain, quick)


def test_what_peft_switches_is_followed() -> None:
    plain, quick = twins("llama")
    before = loss_of(quick).item()
    with plain.disable_adapter(), quick.disable_adapter():
        assert loss_of(quick).item() == loss_of(plain).item()
    for model in (plain, quick):
        with old_names():
            model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
        model.set_adapter("other")
        torch.manual_seed(2)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if ".other." in name:
                    weight.copy_(torch.randn_like(weight))
    check_equal(plain, quick)
    for model in (plain, quick):
        model.set_adapter("default")
    assert loss_of(quick).item() == pytest.approx(before, abs=1e-6)
    merged = quick.merge_and_unload()
    assert loss_of(merged).item() == pytest.approx(before, abs=1e-5)


def test_an_adapter_that_changes_nothing_yet_gives_the_bits_of_the_base() -> None:
    """What dpo measures from must be equal to the bit."""
    _, quick = twins("llama")
    with torch.no_grad():
        for name, weight in quick.named_parameters():
            if "lora_B" in name:
                weight.zero_()
    with quick.disable_adapter(), torch.no_grad():
        base = quick(input_ids=IDS).logits
    assert torch.equal(quick(input_ids=IDS).logits, base)


@pytest.mark.parametrize("most", [1, 9, 10, 14, 27, 100])
def test_parts_are_the_rows_of_the_batch_in_their_order(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    rows = [torch.randint(1, 97, (length,)) for length in (9, 1, 14, 3)]
    batch = packed(rows) | {"labels": torch.cat(rows)[None] + 100}
    monkeypatch.setattr(parts, "TOKENS", most)
    found = list(parts.parts(batch))
    assert torch.equal(torch.cat([part["input_ids"] for part in found], 1), batch["input_ids"])
    back = []
    for part in found:
        borders = part["cu_seq_lens_q"].tolist()
        sizes = [stop - start for start, stop in pairwise(borders)]
        assert borders[0] == 0 and borders[-1] == part["input_ids"].shape[1] == part["labels"].shape[1]
        assert borders[-1] <= most or len(sizes) == 1
        assert part["max_length_q"] == max(sizes)
        assert part["position_ids"][0].tolist() == [at for size in sizes for at in range(size)]
        assert torch.equal(part["labels"], part["input_ids"] + 100)
        back += sizes
    assert back == [9, 1, 14, 3]
    if most == 10:
        assert [part["input_ids"].shape[1] for part in found] == [10, 14, 3]
