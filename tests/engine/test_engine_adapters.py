"""Adapters of every type over one base: each answers, and is scored, as it is alone, and the base as without any."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from engine_room import check_against, collect, copy_of, ids_of, peft_reads_an_old_name, rewrite
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from pumice.engine import adapter, hf, llamacpp, merge
from pumice.engine.contract import Setup
from pumice.engine.hf_adapters import Adapters
from pumice.engine.pool import Pool
from pumice.engine.reserve import in_full
from pumice.errors import InputError

PROMPT = [5, 61, 17, 300, 44, 9, 12, 201]
FRONT = 6
"""Positions that each soft prompt takes."""
CONFIGS: dict[str, Callable[[], Any]] = {
    "lora": lambda: peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "dora": lambda: peft.LoraConfig(r=4, target_modules=["v_proj", "up_proj"], use_dora=True, task_type="CAUSAL_LM"),
    "ia3": lambda: peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    ),
    "prompt": lambda: peft.PromptTuningConfig(num_virtual_tokens=FRONT, task_type="CAUSAL_LM"),
    "p-tuning": lambda: peft.PromptEncoderConfig(
        num_virtual_tokens=FRONT, encoder_hidden_size=16, task_type="CAUSAL_LM"
    ),
    "prefix": lambda: peft.PrefixTuningConfig(num_virtual_tokens=FRONT, task_type="CAUSAL_LM"),
}
SOFT = ("prompt", "p-tuning", "prefix")
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def made(folder: Path, out: Path, name: str) -> Path:
    """A random adapter that pulls the model's answers far away."""
    bare = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with peft_reads_an_old_name():
        model = peft.get_peft_model(bare, CONFIGS[name]())
    torch.manual_seed(list(CONFIGS).index(name))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.4)
    model.save_pretrained(out, save_embedding_layers=False)
    return out


def alone(folder: Path, ids: list[int], path: Path | None = None) -> list[list[float]]:
    """Log-probabilities after each of `ids`, by peft and transformers on a model that has seen no other adapter."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if path is not None:
        with peft_reads_an_old_name():
            model = peft.PeftModel.from_pretrained(model, path)
    with torch.no_grad():
        # What stands in front has logits too, and comes first.
        logits = model.eval()(torch.tensor([ids])).logits[0, -len(ids) :]
    found: list[list[float]] = logits.log_softmax(-1).tolist()
    return found


@pytest.fixture(scope="module")
def folder(make_model: Callable[..., Path]) -> Path:
    """Grouped heads, and weights large enough for answers that differ."""
    sizes = {"num_key_value_heads": 2, "max_position_embeddings": 1200, **SIZES}
    # No answer ends by itself.
    return make_model(LlamaConfig(vocab_size=320, eos_token_id=None, initializer_range=0.3, **sizes))


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each type."""
    return {name: made(folder, tmp_path_factory.mktemp(name), name) for name in CONFIGS}


async def test_all_answer_in_one_engine_as_they_do_alone(folder: Path, adapters: dict[str, Path], cache: Path) -> None:
    engine = await hf.start(folder, cache=cache, threads=1)
    for name, path in adapters.items():
        await engine.load_adapter(name, path)
    said = {}
    for name in (*adapters, None, *reversed(adapters)):
        deltas = await collect(engine, PROMPT, name, logprobs=3)
        said[name] = ids_of(deltas)
        ids = PROMPT + said[name]
        rows = alone(folder, ids, adapters.get(name or ""))
        check_against(rows, PROMPT, deltas, 1e-3)
        scored = await engine.score(ids, name)
        expected = [row[id_] for row, id_ in zip(rows, ids[1:], strict=False)]
        assert [each.logprob for each in scored] == pytest.approx(expected, abs=1e-3)
    assert len({tuple(ids) for ids in said.values()}) == len(said)

    # In parts, each of which sees what stands in front once; and no longer than the window that it leaves.
    long = [(at * at + 7) % 320 for at in range(1200 - FRONT)]
    for name in SOFT:
        expected = [row[id_] for row, id_ in zip(alone(folder, long, adapters[name]), long[1:], strict=False)]
        assert [each.logprob for each in await engine.score(long, name)] == pytest.approx(expected, abs=2e-3)
        with pytest.raises(InputError, match=f"{1201 - FRONT} ids cannot be scored; between 2 and {1200 - FRONT} can"):
            await engine.score([*long, 1], name)
        with pytest.raises(InputError, match=f"may have {1200 - FRONT:,}"):
            await collect(engine, [*long, 1], name)
        deltas = await collect(engine, long[:-3], name)
        assert (len(ids_of(deltas)), deltas[-1].finish) == (3, "length")
    assert len(await engine.score([*long, 1], None)) == len(long)
    await engine.stop()


def test_any_two_in_any_order_keep_out_of_each_others_way(folder: Path, adapters: dict[str, Path]) -> None:
    """Loaded in both orders, one unloaded, put back under the other's name: answers are those of the adapter named."""
    expected = {None: alone(folder, PROMPT)} | {name: alone(folder, PROMPT, path) for name, path in adapters.items()}
    bare = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def check(held: Adapters, name: str | None, wanted: str | None) -> None:
        with torch.no_grad():
            model, before = held.start(name)
            logits = model(input_ids=torch.tensor([PROMPT]), past_key_values=before, use_cache=True).logits[0]
        assert np.abs(logits.log_softmax(-1).numpy() - np.array(expected[wanted])).max() < 1e-3

    with peft_reads_an_old_name():
        for one, other in itertools.permutations(adapters, 2):
            held = Adapters(bare)
            held.put("one", str(adapters[one]))
            held.put("other", str(adapters[other]))
            for name, wanted in (("one", one), ("other", other), (None, None), ("one", one)):
                check(held, name, wanted)
            held.take("one")
            check(held, "other", other)
            held.put("other", str(adapters[one]))
            check(held, "other", one)
            check(held, None, None)


def test_a_broken_one_harms_no_other(folder: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    bare = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    held = Adapters(bare)
    wrong = copy_of(adapters["prompt"], tmp_path / "wrong")
    save_file({"prompt_embeddings": torch.zeros(FRONT, 31)}, wrong / "adapter_model.safetensors")
    with peft_reads_an_old_name():
        for _ in range(2):
            with pytest.raises(RuntimeError, match="size mismatch"):
                held.put("wrong", str(wrong))
            held.put("right", str(adapters["prompt"]))
    with torch.no_grad():
        model, before = held.start("right")
        logits = model(input_ids=torch.tensor([PROMPT]), past_key_values=before, use_cache=True).logits[0]
    assert np.abs(logits.log_softmax(-1).numpy() - np.array(alone(folder, PROMPT, adapters["prompt"]))).max() < 1e-3


async def test_no_engine_is_started_that_could_not_answer(
    folder: Path, adapters: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter's files say which engine answers, on demand and where capacity is promised."""

    async def refused(*_: object, **__: object) -> None:
        raise AssertionError("llama.cpp was started")

    monkeypatch.setattr(llamacpp, "start", refused)
    async with Pool(cache, threads=1) as pool:
        held = await pool.reserve(folder, adapters["prefix"], 1, "mine")
        engine = await held.engine()
        assert held.kinds[0].name == engine.capabilities.name == "transformers"
        shared = await pool.ensure(folder, "ia3", adapters["ia3"])
        assert await pool.ensure(folder, "prompt", adapters["prompt"]) is shared
        assert ids_of(await collect(engine, PROMPT, "mine")) != ids_of(await collect(shared, PROMPT, "prompt"))
        assert (await engine.stats()).rss_bytes < in_full(folder, 1, Setup(cache))
        with pytest.raises(AssertionError):
            await pool.ensure(folder, "lora", adapters["lora"])


@pytest.mark.parametrize("name", ["dora", "ia3"])
@pytest.mark.parametrize("biased", [False, True])
def test_merged_logits_are_those_of_the_adapter(
    name: str, biased: bool, folder: Path, adapters: dict[str, Path], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    """Of a base with biases, keys and values are scaled with theirs."""
    if biased:
        folder = make_model(Qwen2Config(vocab_size=320, num_key_value_heads=2, initializer_range=0.3, **SIZES))
        weights = load_file(folder / "model.safetensors")
        torch.manual_seed(3)
        for key in weights:
            if key.endswith(".bias"):
                weights[key] = torch.randn_like(weights[key])
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    path = made(folder, tmp_path / "adapter", name) if biased else adapters[name]
    merge.merge(folder, path, tmp_path / "merged")
    wanted, bare = alone(folder, PROMPT, path), alone(folder, PROMPT)
    assert np.abs(np.subtract(wanted, bare)).max() > 0.1
    assert np.abs(np.subtract(alone(tmp_path / "merged", PROMPT), wanted)).max() < 1e-3


def test_what_cannot_be_merged_says_why(folder: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    for name in SOFT:
        with pytest.raises(InputError, match="stands in front of a conversation") as caught:
            merge.merge(folder, adapters[name], tmp_path / "merged")
        assert "Serve it as it is" in caught.value.fix
    more = copy_of(adapters["ia3"], tmp_path / "more")
    rewrite(more / "adapter_config.json", modules_to_save=["lm_head"])
    with pytest.raises(InputError, match="it uses modules_to_save"):
        merge.merge(folder, more, tmp_path / "merged")
    other = copy_of(folder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    narrow = {key: each[:, :60].contiguous() if "down_proj" in key else each for key, each in weights.items()}
    save_file(narrow, other / "model.safetensors")
    with pytest.raises(InputError, match=r"does not fit the base at .*down_proj") as caught:
        merge.merge(other, adapters["ia3"], tmp_path / "merged")
    assert "(any, 64)" in caught.value.why
    assert not (tmp_path / "merged").exists()


def test_each_kind_is_named_as_a_recipe_names_it(adapters: dict[str, Path], tmp_path: Path) -> None:
    assert {adapter.kind(path) for path in adapters.values()} == set(adapters)
    assert [adapter.in_front(path) for path in adapters.values()] == [0, 0, 0, FRONT, FRONT, FRONT]
    rank = copy_of(adapters["lora"], tmp_path / "rank")
    rewrite(rank / "adapter_config.json", use_rslora=True)
    assert adapter.kind(rank) == "rslora"
