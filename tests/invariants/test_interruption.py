"""Promise 5: a run that was interrupted anywhere ends, once resumed, with the weights of one that was not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import StoppedError
from pumice.records import Base, Event, Tokens
from pumice.train import artifact as artifacts
from pumice.train import checkpoints
from pumice.train.loop import train
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def made_rows() -> list[Tokens]:
    dice = random.Random(3)
    lengths = [dice.randrange(4, 24) for _ in range(10)]
    ids = [tuple(dice.randrange(1000, 2000) for _ in range(length)) for length in lengths]
    return [Tokens(one, (-100, -100, *one[2:])) for one in ids]


# 10 rows, 2 x 2 a step: 3 steps an epoch, 9 in all. Dropout draws random numbers in every step.
VALUES: dict[str, dict[str, Any]] = {
    "lora": {"lora": {"dropout": 0.2}, "learning_rate": 1e-2},
    "full": {"method": "full", "learning_rate": 1e-3},
}


def recipe_for(method: str, base: Base) -> Recipe:
    shared = {"data": "/d/rows", "epochs": 3, "batch_size": 2, "gradient_accumulation": 2, "save_steps": 2}
    return resolve_recipe(make_recipe({**shared, **VALUES[method]}), base, 10, 140).recipe


def whole(method: str, base: Base, folder: Path, tell: Callable[[Event], None], stop: Callable[[], bool]) -> bytes:
    trained = train(recipe_for(method, base), base, made_rows(), folder, tell, stop)
    names = ("adapter_model.safetensors", "model.safetensors")
    return next((trained / name).read_bytes() for name in names if (trained / name).exists())


@pytest.fixture(scope="module")
def uninterrupted(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {
        method: whole(method, tiny, tmp_path_factory.mktemp(method), lambda _: None, lambda: False) for method in VALUES
    }


def killer(step: int) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == step:
            raise Killed

    return tell


def first_step(events: list[Event]) -> int:
    return next(int(event.data["step"]) for event in events if event.kind == "step")


@pytest.mark.parametrize(
    ("method", "kills"),
    [("lora", [1]), ("lora", [3]), ("lora", [5, 8]), ("lora", [7, 7, 9]), ("full", [4, 6])],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_killed_and_resumed_is_never_killed(
    tiny: Base, uninterrupted: dict[str, bytes], tmp_path: Path, method: str, kills: list[int]
) -> None:
    """Before the first checkpoint, inside an epoch, at its end, on the last step, and more than once."""
    for step in kills:
        with pytest.raises(Killed):
            whole(method, tiny, tmp_path, killer(step), lambda: False)
    events: list[Event] = []
    assert whole(method, tiny, tmp_path, events.append, lambda: False) == uninterrupted[method]
    # It went on from the last checkpoint before the kill, which is written after every second step.
    assert first_step(events) == (kills[-1] - 1) // 2 * 2 + 1


@pytest.mark.parametrize("place", ["while a checkpoint is written", "while the artifact is written"])
def test_killed_while_writing(
    tiny: Base, uninterrupted: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    mark = checkpoints.mark

    def killed_at_four(checkpoint: Path) -> None:
        if checkpoint.name == "checkpoint-4":
            raise Killed
        mark(checkpoint)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        if place == "while a checkpoint is written":
            patch.setattr(checkpoints, "mark", killed_at_four)
        else:
            patch.setattr(artifacts, "describe", killed)
        whole("lora", tiny, tmp_path, lambda _: None, lambda: False)
    assert not (tmp_path / "artifact").exists()
    events: list[Event] = []
    assert whole("lora", tiny, tmp_path, events.append, lambda: False) == uninterrupted["lora"]
    told = [event.data["text"] for event in events if event.kind == "note"]
    assert ("checkpoint-4 is not whole and is left out." in told) is (place == "while a checkpoint is written")
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_stopped_and_resumed(tiny: Base, uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    """A stop that comes at every step: each call makes one step and keeps it."""
    for step in range(1, 9):
        with pytest.raises(StoppedError, match=f"stopped at step {step} of 9"):
            whole("lora", tiny, tmp_path, lambda _: None, lambda: True)
    assert whole("lora", tiny, tmp_path, lambda _: None, lambda: True) == uninterrupted["lora"]


def test_only_the_last_two_checkpoints_are_kept(tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        whole("lora", tiny, tmp_path, killer(9), lambda: False)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*"))
    assert kept == ["checkpoint-6", "checkpoint-8"]
