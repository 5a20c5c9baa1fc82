"""The favourite answers from a merged model of its own, as it did before, and only while it is one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from engine_room import collect, ids_of

from pumice.engine import favourite, llamacpp, reserve
from pumice.engine.child import Child
from pumice.engine.llamacpp import LlamaCpp
from pumice.engine.merged import Merged, Source
from pumice.engine.turns import Turns
from pumice.records import Base

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROMPTS = [[1, 520, 9531, 198], [504, 3575, 282, 4649, 314], [1, 4093, 198, 2683, 359, 260, 3575, 2, 198]]


@pytest_asyncio.fixture(loop_scope="session")
async def engine(
    tiny: Base, tiny_adapters: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LlamaCpp]:
    """In full precision; four requests of the last six choose."""
    for name, value in {"RECENT": 6, "MOST": 4, "FEW": 3}.items():
        monkeypatch.setattr(favourite, name, value)
    engine = await llamacpp.start(tiny.folder, cache=cache, quant="f32", slots=2, threads=1, favour=True)
    for name, folder in tiny_adapters.items():
        await engine.load_adapter(name, folder)
    yield engine
    await engine.stop()


async def settled(engine: LlamaCpp) -> int | None:
    """The process of the favourite, once nothing is being made."""
    assert engine._merged
    if engine._merged._task:
        await engine._merged._task
    return engine._merged.child.pid if engine._merged.child else None


async def answers(engine: LlamaCpp, name: str | None) -> list[list[int]]:
    return [ids_of(await collect(engine, prompt, name, max_tokens=40)) for prompt in PROMPTS]


async def test_the_favourite_answers_alike_merged_and_gives_its_memory_back(
    engine: LlamaCpp, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = await answers(engine, "left")
    assert await settled(engine) is None
    assert ids_of(await collect(engine, PROMPTS[0], "left", max_tokens=40)) == left[0]
    merged = await settled(engine)
    assert merged and merged != engine._keeper.child.pid  # type: ignore[union-attr]
    one = (await engine.stats()).rss_bytes
    child = engine._merged.child  # type: ignore[union-attr]
    assert child and one > child.rss_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(engine._keeper, "use", None)  # Whoever asks the unmerged process fails.
        assert await answers(engine, "left") == left
    # It was the merged process that answered: without an adapter of its own it gives the same.
    base, right = await answers(engine, None), await answers(engine, "right")
    assert base != left != right != base
    assert await settled(engine) is None
    assert not psutil.pid_exists(merged)
    assert await answers(engine, "left") == left
    assert await answers(engine, None) == base


async def test_both_processes_answer_at_once_what_is_theirs(engine: LlamaCpp) -> None:
    left, right, base = [await answers(engine, name) for name in ("left", "right", None)]
    for _ in range(4):
        await collect(engine, PROMPTS[0], "left", max_tokens=1)
    assert await settled(engine)
    names = ["left", None, "left", "right", "left", "left"]
    mixed = await asyncio.gather(*(answers(engine, name) for name in names))
    expected = {"left": left, "right": right, None: base}
    assert mixed == [expected[name] for name in names]


async def test_a_favourite_that_memory_has_no_room_for_stays_unmerged(
    engine: LlamaCpp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reserve, "room", lambda: 0)
    with caplog.at_level(logging.INFO, "pumice"):
        for _ in range(5):
            assert ids_of(await collect(engine, PROMPTS[0], "left"))
        assert await settled(engine) is None
    assert caplog.text.count("memory has no room") == 1


async def test_a_favourite_that_crashed_answers_unmerged_again(engine: LlamaCpp) -> None:
    left = await answers(engine, "left")
    await collect(engine, PROMPTS[0], "left")
    merged = await settled(engine)
    assert merged
    psutil.Process(merged).kill()
    while engine._merged.child:  # type: ignore[union-attr]
        await asyncio.sleep(0.01)
    assert await answers(engine, "left") == left
    assert await settled(engine) is None


async def test_an_engine_that_stops_leaves_nothing_half_made(engine: LlamaCpp) -> None:
    folder = engine._adapters["left"].parent
    for merged in folder.glob("*-merged-*"):
        merged.unlink()
    for _ in range(4):
        await collect(engine, PROMPTS[0], "left", max_tokens=1)
    while not list(folder.glob(".merged-*/.whole.gguf.*")):
        await asyncio.sleep(0.001)
    await engine.stop()
    assert not list(folder.glob(".*-merged-*"))
    assert not list(folder.glob(".merged-*")) and not list(folder.glob("*-merged-*"))


async def test_one_that_cannot_be_merged_says_so_and_answers(
    engine: LlamaCpp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [path] = {engine._adapters["right"]}
    engine._folders[path] = tmp_path
    for merged in path.parent.glob("*-merged-*"):
        merged.unlink()
    for _ in range(5):
        assert ids_of(await collect(engine, PROMPTS[0], "right"))
    assert await settled(engine) is None
    assert "stays unmerged" in caplog.text


async def test_a_favourite_is_chosen_while_answers_run_and_not_after_the_end(tmp_path: Path) -> None:
    async def never(_: Path) -> Child:
        raise AssertionError("Memory has no room for it.")

    def source(adapter: Path) -> Source:
        return Source(tmp_path, adapter, "f32")

    turns, chosen = Turns(2), tmp_path / "a.gguf"
    merged = Merged(turns, source, never, lambda: False, None)
    async with turns.seat(chosen):
        for _ in range(favourite.RECENT):
            merged.count(chosen)
        await asyncio.sleep(0)
        async with asyncio.timeout(10), turns.seat(chosen):
            assert merged._task
            await merged._task
    await merged.stop()
    task = merged._task
    for _ in range(favourite.RECENT):
        merged.count(tmp_path / "b.gguf")
    assert merged._task is task
