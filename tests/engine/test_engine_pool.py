"""The pool starts one engine a model, picks one that can, and starts it again after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from engine_room import collect, copy_of, ids_of, rewrite
from transformers import GPT2Config

from pumice.config import Home, Serving, read_environment
from pumice.engine.contract import Engine
from pumice.engine.hf import Transformers
from pumice.engine.llamacpp import LlamaCpp
from pumice.engine.pool import Pool
from pumice.errors import InputError, NotFoundError, UnavailableError
from pumice.records import Base

PROMPT = [1, 4093, 198, 2683, 359, 260, 3575, 2, 198]


@pytest.fixture
async def pool(cache: Path) -> AsyncIterator[Pool]:
    pool = Pool(cache, threads=1)
    yield pool
    await pool.stop()
    assert await pool.stats() == []


async def kill(engine: Engine) -> None:
    process = psutil.Process((await engine.stats()).pid)
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait, 30)


async def test_callers_at_once_share_one_engine(pool: Pool, tiny: Base) -> None:
    engines = await asyncio.gather(*(pool.get(tiny.folder) for _ in range(5)))
    assert len({id(engine) for engine in engines}) == 1
    ((folder, name, stats),) = await pool.stats()
    assert (folder, name) == (tiny.folder.resolve(), "llama.cpp")
    assert stats.rss_bytes > 10**6
    await pool.stop()
    assert not psutil.pid_exists(stats.pid)


async def test_a_crash_fails_what_was_under_way_and_the_next_request_works(
    pool: Pool, tiny: Base, tiny_adapters: dict[str, Path]
) -> None:
    engine = await pool.ensure(tiny.folder, "mine", tiny_adapters["left"])
    expected = ids_of(await collect(engine, PROMPT, "mine"))
    under_way = asyncio.create_task(collect(engine, PROMPT, max_tokens=480))
    while not (await engine.stats()).running:
        await asyncio.sleep(0)
    await kill(engine)
    with pytest.raises(UnavailableError):
        await under_way
    again = await pool.ensure(tiny.folder, "mine", tiny_adapters["left"])
    assert again is engine
    assert ids_of(await collect(again, PROMPT, "mine")) == expected


async def test_an_adapter_is_loaded_once(pool: Pool, tiny: Base, tiny_adapters: dict[str, Path]) -> None:
    engines = await asyncio.gather(*(pool.ensure(tiny.folder, "mine", tiny_adapters["left"]) for _ in range(4)))
    pid = (await engines[0].stats()).pid
    assert await pool.ensure(tiny.folder, "mine", tiny_adapters["left"]) is engines[0]
    assert (await engines[0].stats()).pid == pid
    await pool.ensure(tiny.folder, "other", tiny_adapters["right"])
    assert (await engines[0].stats()).adapters == ("mine", "other")
    with pytest.raises(NotFoundError, match="holds no adapter"):
        await pool.ensure(tiny.folder, "none", tiny.folder)


async def test_what_llama_cpp_cannot_run_goes_to_transformers(
    pool: Pool, tiny: Base, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    dora = make_adapter(tiny.folder, 3, 0.3, use_dora=True)
    engine = await pool.ensure(tiny.folder, "dora", dora)
    assert isinstance(engine, Transformers)
    assert engine is await pool.scorer(tiny.folder)
    assert engine.capabilities.score
    assert isinstance(await pool.get(tiny.folder), LlamaCpp)
    assert ids_of(await collect(engine, PROMPT, "dora")) != ids_of(await collect(engine, PROMPT))
    assert sorted(name for _, name, _ in await pool.stats()) == ["llama.cpp", "transformers"]
    broken = copy_of(dora, tmp_path / "broken")
    rewrite(broken / "adapter_config.json", r=7)
    with pytest.raises(InputError, match="size mismatch"):
        await pool.ensure(tiny.folder, "broken", broken)


async def test_an_architecture_without_gguf_is_served_and_scored_by_one_engine(
    pool: Pool, make_model: Callable[..., Path]
) -> None:
    folder = make_model(GPT2Config(vocab_size=320, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1))
    engine = await pool.get(folder)
    assert isinstance(engine, Transformers)
    assert engine is await pool.scorer(folder)
    assert len(await engine.score([5, 6, 7])) == 2
    assert len(ids_of(await collect(engine, [5, 6, 7]))) > 0


async def test_a_setting_names_the_engine_and_the_precision(cache: Path, tiny: Base) -> None:
    for serving, label in (
        (Serving(), "llama.cpp q8_0"),
        (Serving("llama.cpp", "q4_0"), "llama.cpp q4_0"),
        (Serving("transformers"), "transformers"),
    ):
        async with Pool(cache, threads=1, serving=serving) as pool:
            assert pool.answered(tiny.folder) is None
            engine = await pool.get(tiny.folder)
            assert engine.capabilities.name == label.partition(" ")[0]
            assert ids_of(await collect(engine, PROMPT))
            assert pool.answered(tiny.folder) == (label, "")
    assert {path.stem.rpartition("-")[2] for path in (cache / "gguf").iterdir()} >= {"q8_0", "q4_0"}


async def test_what_is_set_and_cannot_run_a_model_is_passed_over_with_a_word(
    cache: Path, tiny: Base, make_adapter: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    dora = make_adapter(tiny.folder, 3, 0.3, use_dora=True)
    async with Pool(cache, threads=1, serving=Serving("llama.cpp")) as pool:
        for _ in range(2):
            engine = await pool.ensure(tiny.folder, "dora", dora)
        assert isinstance(engine, Transformers)
        answered = pool.answered(tiny.folder, dora)
    assert answered
    assert answered[0] == "transformers"
    assert "transformers answers, not llama.cpp q8_0" in answered[1] and "use_dora" in answered[1]
    [record] = caplog.records
    assert "llama.cpp q8_0 does not run" in record.message and "use_dora" in record.message


async def test_an_engine_that_is_not_installed_is_no_reason_for_another(
    cache: Path, tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    async with Pool(cache, serving=Serving("vllm")) as pool:
        with pytest.raises(InputError, match="there is no program vllm"):
            await pool.get(tiny.folder)
        assert await pool.stats() == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, Serving(idle=900)),
        ({"PUMICE_ENGINE": "vllm", "PUMICE_IDLE_SECONDS": "0"}, Serving("vllm")),
        ({"PUMICE_QUANT": "f16", "PUMICE_IDLE_SECONDS": "5"}, Serving(quant="f16", idle=5)),
        (
            {"PUMICE_ENGINE": "https://there/v1", "PUMICE_ENGINE_KEY": "k"},
            Serving("https://there/v1", key="k", idle=900),
        ),
        ({"PUMICE_ENGINE": "ollama"}, "PUMICE_ENGINE=ollama is no engine"),
        ({"PUMICE_QUANT": "q5_1"}, "PUMICE_QUANT=q5_1 is none of"),
        ({"PUMICE_QUANT": "q4_0", "PUMICE_ENGINE": "vllm"}, "do not go together"),
        ({"PUMICE_IDLE_SECONDS": "soon"}, "PUMICE_IDLE_SECONDS=soon is no whole number"),
    ],
)
def test_the_environment_says_what_answers(
    variables: dict[str, str], said: Serving | str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENGINE", "ENGINE_KEY", "QUANT", "IDLE_SECONDS"):
        monkeypatch.delenv(f"PUMICE_{name}", raising=False)
    for name, value in {**variables, "PUMICE_HOME": str(home.root)}.items():
        monkeypatch.setenv(name, value)
    if isinstance(said, Serving):
        assert read_environment().home.serving == said
    else:
        with pytest.raises(InputError, match=said):
            read_environment()
