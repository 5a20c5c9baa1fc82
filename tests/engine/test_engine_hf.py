"""The transformers engine is exact, keeps adapters apart, loads any peft adapter, and scores."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from engine_room import check_against, collect, copy_of, ids_of, rewrite
from transformers import LlamaConfig

from pumice.engine import hf
from pumice.engine.contract import Generate, Sampling
from pumice.engine.hf import Transformers
from pumice.engine.llamacpp import LlamaCpp
from pumice.errors import InputError, NotFoundError, UnavailableError
from pumice.records import Base

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPT = [1, 4093, 198, 2683, 359, 260, 3575, 2, 198]
Reference = Callable[..., list[list[float]]]


@pytest.mark.parametrize("adapter", [None, "left", "right"])
async def test_answers_and_scores_are_exact(
    plain: Transformers, tiny: Base, tiny_adapters: dict[str, Path], reference: Reference, adapter: str | None
) -> None:
    deltas = await collect(plain, PROMPT, adapter, logprobs=3)
    ids = PROMPT + ids_of(deltas)
    rows = reference(tiny.folder, ids, tiny_adapters.get(adapter or ""))
    check_against(rows, PROMPT, deltas, 1e-4)
    expected = [row[id_] for row, id_ in zip(rows, ids[1:], strict=False)]
    scored = await plain.score(ids, adapter, top=2)
    assert [each.id for each in scored] == ids[1:]
    assert [each.logprob for each in scored] == pytest.approx(expected, abs=1e-4)
    for row, each in zip(rows, scored, strict=False):
        assert [logprob for _, logprob in each.top] == pytest.approx(sorted(row)[-1:-3:-1], abs=1e-4)
        assert all(row[id_] == pytest.approx(logprob, abs=1e-4) for id_, logprob in each.top)


@pytest.mark.parametrize("sampling", [{}, {"frequency_penalty": 0.4, "presence_penalty": 0.3}])
async def test_both_engines_choose_the_same_tokens(
    plain: Transformers, exact: LlamaCpp, sampling: dict[str, float]
) -> None:
    for adapter in (None, "left", "right"):
        mine, theirs = [ids_of(await collect(each, PROMPT, adapter, **sampling)) for each in (plain, exact)]
        assert mine == theirs


async def test_leaving_an_answer_ends_it_for_the_next(tiny: Base, cache: Path) -> None:
    """The engine answers one at a time: the second answer comes only because the first one was given up."""
    engine = await hf.start(tiny.folder, cache=cache, threads=1)
    engine._context = 10**6
    async with aclosing(engine.generate(Generate(PROMPT, Sampling(max_tokens=500_000)))) as deltas:
        await anext(deltas)
    assert len(ids_of(await collect(engine, PROMPT, max_tokens=2))) == 2
    await engine.stop()


async def test_any_adapter_of_peft_is_served(
    tiny: Base, cache: Path, make_adapter: Callable[..., Path], reference: Reference
) -> None:
    dora = make_adapter(tiny.folder, 3, 0.3, use_dora=True)
    engine = await hf.start(tiny.folder, cache=cache, threads=1)
    bare = ids_of(await collect(engine, PROMPT))
    await engine.load_adapter("dora", dora)
    deltas = await collect(engine, PROMPT, "dora", logprobs=1)
    check_against(reference(tiny.folder, PROMPT + ids_of(deltas), dora), PROMPT, deltas, 1e-4)
    assert ids_of(await collect(engine, PROMPT)) == bare
    await engine.unload_adapter("dora")
    assert ids_of(await collect(engine, PROMPT)) == bare
    with pytest.raises(NotFoundError, match="dora is not loaded"):
        await collect(engine, PROMPT, "dora")
    await engine.load_adapter("dora", dora)
    assert ids_of(await collect(engine, PROMPT, "dora")) == ids_of(deltas)
    await engine.stop()


async def test_a_broken_adapter_is_refused_and_harms_nothing(
    plain: Transformers, tiny: Base, cache: Path, tiny_adapters: dict[str, Path], tmp_path: Path
) -> None:
    before = ids_of(await collect(plain, PROMPT, "left"))
    wrong = copy_of(tiny_adapters["right"], tmp_path / "wrong")
    rewrite(wrong / "adapter_config.json", rank_pattern={"down_proj": 7})
    fresh = await hf.start(tiny.folder, cache=cache, threads=1)
    for engine in (fresh, plain, plain):
        with pytest.raises(InputError, match="size mismatch"):
            await engine.load_adapter("wrong", wrong)
    assert ids_of(await collect(fresh, PROMPT)) == ids_of(await collect(plain, PROMPT))
    await fresh.stop()
    (wrong / "adapter_model.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"adapter_model\.safetensors is missing"):
        await plain.load_adapter("wrong", wrong)
    assert ids_of(await collect(plain, PROMPT, "left")) == before
    await plain.load_adapter("wrong", tiny_adapters["left"])
    assert ids_of(await collect(plain, PROMPT, "wrong")) == before
    await plain.unload_adapter("wrong")


async def test_a_long_text_is_scored_in_parts_with_the_same_result(
    make_model: Callable[..., Path], reference: Reference, cache: Path
) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    folder = make_model(LlamaConfig(vocab_size=320, max_position_embeddings=4096, initializer_range=0.2, **sizes))
    engine = await hf.start(folder, cache=cache, threads=1)
    for length in (1024, 1025, 2500):
        ids = [(at * at + 7) % 320 for at in range(length)]
        expected = [row[id_] for row, id_ in zip(reference(folder, ids), ids[1:], strict=False)]
        assert [each.logprob for each in await engine.score(ids)] == pytest.approx(expected, abs=1e-3)
    with pytest.raises(InputError, match="4097 ids cannot be scored"):
        await engine.score([1] * 4097)
    await engine.stop()


async def test_a_model_that_cannot_be_loaded_says_why(tiny: Base, tmp_path: Path) -> None:
    folder = copy_of(tiny.folder, tmp_path / "model")
    rewrite(folder / "config.json", model_type="nonesuch")
    with pytest.raises(UnavailableError, match="did not start") as caught:
        await hf.start(folder, cache=tmp_path)
    assert caught.value.why
    assert "nonesuch" in next((tmp_path / "logs").iterdir()).read_text()
