"""Requests of one kind run together, others wait for their turn, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import pytest

from pumice.engine.turns import PATIENCE, Turns


class Scene:
    """Requests that sit until they are told to leave."""

    def __init__(self, seats: int) -> None:
        self.now = 0.0
        self.turns = Turns(seats, lambda: self.now)
        self.seated: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._leave: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> None:
        """The kind is the first letter of a name."""
        for name in names:
            self._leave[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._sit(name, name[0]))
        await settle()

    async def leave(self, *names: str) -> None:
        for name in names:
            self._leave[name].set()
        await settle()

    async def _sit(self, name: str, kind: Hashable) -> None:
        async with self.turns.seat(kind):
            self.seated.append(name)
            try:
                await self._leave[name].wait()
            finally:
                self.seated.remove(name)


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_one_kind_sits_together_and_the_next_comes_when_all_have_left() -> None:
    scene = Scene(3)
    await scene.come("a1", "b1", "a2", "b2", "c1", "a3", "a4")
    assert scene.seated == ["a1", "a2", "a3"]
    assert scene.turns.waiting() == ["b", "c", "a"]
    await scene.leave("a1")
    assert scene.seated == ["a2", "a3", "a4"]
    await scene.leave("a2", "a3", "a4")
    assert scene.seated == ["b1", "b2"]
    await scene.leave("b1", "b2")
    assert scene.seated == ["c1"]
    await scene.leave("c1")
    assert scene.turns.running == 0


async def test_a_turn_takes_nobody_in_while_others_have_waited_for_long() -> None:
    scene = Scene(2)
    await scene.come("a1", "b1")
    scene.now = PATIENCE / 2
    await scene.come("a2")
    assert scene.seated == ["a1", "a2"]
    scene.now = PATIENCE * 2
    await scene.leave("a1")
    await scene.come("a3")
    assert scene.seated == ["a2"]
    await scene.leave("a2")
    assert scene.seated == ["b1"]
    await scene.leave("b1")
    assert scene.seated == ["a3"]


async def test_a_flood_of_one_kind_starves_no_other() -> None:
    scene = Scene(2)
    await scene.come("a0", "b0")
    for number in range(1, 30):
        scene.now += PATIENCE / 4
        await scene.come(f"a{number}")
        await scene.leave(f"a{number - 1}")
        if "b0" in scene.seated:
            break
    assert scene.seated == ["b0"]
    assert number < 8


@pytest.mark.parametrize("victim", ["a1", "a2", "b1"])
async def test_whoever_goes_leaves_a_seat_or_a_place_in_the_queue(victim: str) -> None:
    scene = Scene(1)
    await scene.come("a1", "a2", "b1")
    scene.tasks[victim].cancel()
    await settle()
    left = [name for name in ("a1", "a2", "b1") if name != victim]
    for name in left:
        assert scene.seated == [name]
        await scene.leave(name)
    assert (scene.turns.running, scene.turns.waiting()) == (0, [])


async def test_one_that_goes_in_the_moment_it_is_called_gives_its_seat_back() -> None:
    scene = Scene(1)
    await scene.come("a1", "b1", "c1")
    scene._leave["a1"].set()
    scene.tasks["b1"].cancel()
    await settle()
    assert scene.seated == ["c1"]
    await scene.leave("c1")
    assert scene.turns.running == 0
