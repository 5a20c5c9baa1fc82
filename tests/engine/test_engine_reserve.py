"""A reservation is a process of its own, in front of the others, and is never promised beyond what is there."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from engine_room import collect, ids_of
from safetensors.numpy import save_file
from transformers import T5Config

from pumice.engine import reserve
from pumice.engine.contract import Generate, Sampling, Setup
from pumice.engine.pool import Pool
from pumice.errors import ExhaustedError, NotFoundError, UnavailableError
from pumice.records import Base

PROMPT = [1, 4093, 198, 2683, 359, 260, 3575, 2, 198]
SETUP = Setup(Path())


@pytest.fixture
async def pool(cache: Path) -> AsyncIterator[Pool]:
    pool = Pool(cache, threads=1)
    yield pool
    await pool.stop()


def at_least(nice: int) -> int:
    """Nobody but root steps in front of who started it, and these tests may themselves stand back."""
    return max(nice, os.getpriority(os.PRIO_PROCESS, 0))


async def test_it_runs_apart_and_in_front(pool: Pool, tiny: Base, tiny_adapters: dict[str, Path]) -> None:
    held = await pool.reserve(tiny.folder, tiny_adapters["left"], 1, "mine")
    shared = await pool.ensure(tiny.folder, "mine", tiny_adapters["left"])
    engine = await held.engine()
    mine, theirs = (await engine.stats()).pid, (await shared.stats()).pid
    assert mine != theirs
    assert [psutil.Process(pid).nice() for pid in (mine, theirs)] == [at_least(0), at_least(10)]
    # Between sessions Linux shares the cores evenly, whatever the niceness; ctrl-C must not reach them all the same.
    assert {os.getsid(pid) for pid in (mine, theirs)} == {os.getsid(0)}
    assert [os.getpgid(pid) for pid in (mine, theirs)] == [mine, theirs]
    assert ids_of(await collect(engine, PROMPT, "mine")) == ids_of(await collect(shared, PROMPT, "mine"))
    other = await pool.reserve(tiny.folder, None, 1, "bare")
    assert (await (await other.engine()).stats()).pid not in (mine, theirs)
    assert len(await pool.stats()) == 1
    await held.release()
    await held.release()
    assert not psutil.pid_exists(mine)
    with pytest.raises(UnavailableError, match="reserved for mine was released"):
        await held.engine()
    await pool.stop()
    with pytest.raises(UnavailableError):
        await other.engine()


async def test_an_adapter_that_llama_cpp_refuses_is_reserved_on_transformers(
    pool: Pool, tiny: Base, make_adapter: Callable[..., Path]
) -> None:
    held = await pool.reserve(tiny.folder, make_adapter(tiny.folder, use_dora=True), 1, "dora")
    engine = await held.engine()
    assert held.kinds[0].name == engine.capabilities.name == "transformers"
    assert psutil.Process((await engine.stats()).pid).nice() == at_least(0)
    assert ids_of(await collect(engine, PROMPT, "dora"))
    with pytest.raises(NotFoundError):
        await pool.reserve(tiny.folder, tiny.folder, 1, "none")


async def test_a_crash_is_made_good_on_the_next_use(pool: Pool, tiny: Base, tiny_adapters: dict[str, Path]) -> None:
    held = await pool.reserve(tiny.folder, tiny_adapters["left"], 1, "mine")
    engine = await held.engine()
    expected = ids_of(await collect(engine, PROMPT, "mine"))
    crashed = (await engine.stats()).pid
    os.kill(crashed, signal.SIGKILL)
    while held.alive:
        await asyncio.sleep(0.01)
    again = await held.engine()
    assert ids_of(await collect(again, PROMPT, "mine")) == expected
    assert (await again.stats()).pid != crashed


async def test_resizing_does_not_disturb_an_answer(pool: Pool, tiny: Base) -> None:
    held = await pool.reserve(tiny.folder, None, 1, "bare")
    before = await held.engine()
    old = (await before.stats()).pid
    async with aclosing(before.generate(Generate(PROMPT, Sampling(max_tokens=400)))) as deltas:
        got = ids_of([await anext(deltas)])
        await held.resize(2)
        after = await held.engine()
        assert held.slots == 2 and after is not before
        got += ids_of([delta async for delta in deltas])
    assert got == ids_of(await collect(after, PROMPT, max_tokens=400))
    await pool.stop()
    assert not psutil.pid_exists(old)


async def test_nothing_is_promised_beyond_cores_and_memory(
    pool: Pool, tiny: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = reserve.SLOTS_A_CORE * (psutil.cpu_count(logical=False) or 1)
    held = await pool.reserve(tiny.folder, None, 1, "bare")
    with pytest.raises(ExhaustedError, match=f"1 of {most} are reserved already"):
        await pool.reserve(tiny.folder, None, most, "more")
    # What it holds itself counts as given back.
    await held.resize(2)
    with pytest.raises(ExhaustedError, match=f"0 of {most}"):
        await held.resize(most + 1)
    assert held.slots == 2
    needed = reserve.converted(tiny.folder, 1, SETUP)
    monkeypatch.setattr(reserve, "room", lambda: needed - 1)
    with pytest.raises(ExhaustedError, match="MiB are free") as caught:
        await pool.reserve(tiny.folder, None, 1, "late")
    assert "release what is reserved elsewhere" in caught.value.fix
    monkeypatch.setattr(reserve, "room", lambda: needed)
    assert (await pool.reserve(tiny.folder, None, 1, "late")).slots == 1


@pytest.mark.parametrize(("slots", "expected"), [(0, 1), (1, 1), (3, 3), (8, 8), (100, 8)])
def test_answers_at_once_are_eight_or_what_memory_has_room_for(
    tiny: Base, monkeypatch: pytest.MonkeyPatch, slots: int, expected: int
) -> None:
    one = reserve.converted(tiny.folder, 2, SETUP) - reserve.converted(tiny.folder, 1, SETUP)
    memory = machine_of(slots * one * reserve._SHARE)
    monkeypatch.setattr(reserve.psutil, "virtual_memory", lambda: memory)
    assert reserve.on_demand(tiny.folder, "q8_0") == expected
    # In full precision what an answer keeps is twice as long.
    assert reserve.on_demand(tiny.folder, "f32") == max(1, min(8, slots // 2))


def machine_of(total: int) -> SimpleNamespace:
    """A machine of so much memory."""
    return SimpleNamespace(total=total)


def test_a_base_of_two_halves_is_counted_by_its_own_names(tmp_path: Path) -> None:
    save_file({"shared.weight": np.zeros((100, 64), np.float32)}, tmp_path / "model.safetensors")
    needed = []
    for window in (128, 256):
        T5Config(d_model=64, num_layers=3, num_heads=4, d_kv=32, n_positions=window).save_pretrained(tmp_path)
        needed.append(reserve.in_full(tmp_path, 1, SETUP))
    # Keys and values of both texts, in each layer and head, in 32 bits.
    assert needed[1] - needed[0] == (256 - 128) * 2 * 2 * 3 * 4 * 32 * 4


async def test_what_is_counted_is_what_the_real_base_takes(pool: Pool, base: Base) -> None:
    assert 0 < pool.room() < psutil.virtual_memory().total
    held = await pool.reserve(base.folder, None, 1, "real")
    engine = await held.engine()
    await collect(engine, PROMPT)
    assert (await engine.stats()).rss_bytes < reserve.converted(base.folder, 1, SETUP)
    assert reserve.converted(base.folder, 3, SETUP) > reserve.converted(base.folder, 1, SETUP)
