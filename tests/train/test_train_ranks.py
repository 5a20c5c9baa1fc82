"""Two processes that meet over loopback make the steps of one: the same losses, the same weights, in any cut."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from one_of_two import Case
from safetensors.torch import load_file
from test_train_loop import made_rows
from test_train_preferences import made_pairs

from pumice.errors import InputError
from pumice.records import Base, Event
from pumice.train import loop
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe
from pumice.train.spread import spread

SCRIPT = Path(__file__).with_name("one_of_two.py")
WEIGHTS = {"full": "model.safetensors"}


def recipe_of(base: Base, rows: list[Any], **values: Any) -> Recipe:
    given = {"data": "/d/rows.jsonl", "epochs": 2, "learning_rate": 1e-2, "save_steps": 100, **values}
    return resolve_recipe(make_recipe(given), base, len(rows), sum(row.size for row in rows)).recipe


def cases_of(base: Base) -> dict[str, Case]:
    """Eleven rows: the last step of each epoch has too few batches to go round."""
    rows, pairs = made_rows(11), made_pairs(7)
    return {
        "lora": Case(recipe_of(base, rows, batch_size=2, gradient_accumulation=2), base, rows),
        "full": Case(recipe_of(base, rows, batch_size=4, method="full", learning_rate=1e-3, fast=False), base, rows),
        "dpo": Case(recipe_of(base, pairs, batch_size=2, gradient_accumulation=2, method="dpo"), base, pairs),
        "stopped": Case(recipe_of(base, rows, batch_size=4), base, rows, 3),
    }


@pytest.fixture(scope="module")
def cases(narrow: Base) -> dict[str, Case]:
    return cases_of(narrow)


@pytest.fixture(scope="module")
def two(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found, and where."""
    root = tmp_path_factory.mktemp("two")
    (root / "cases").write_bytes(pickle.dumps(cases))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    running = []
    for rank in ("0", "1"):
        (root / rank).mkdir()
        words = [sys.executable, SCRIPT, root / "cases", root / rank]
        running.append(subprocess.Popen(words, env={**os.environ, **told, "RANK": rank, "LOCAL_RANK": rank}))
    try:
        assert [each.wait(300) for each in running] == [0, 0]
    finally:
        for each in running:
            each.kill()
    return [pickle.loads((root / rank / "found.pickle").read_bytes()) | {"folder": root / rank} for rank in ("0", "1")]


def steps(events: list[Event]) -> list[Any]:
    return [event.data for event in events if event.kind == "step"]


@pytest.mark.parametrize("name", ["lora", "full", "dpo", "stopped"])
def test_two_processes_make_the_steps_of_one(
    name: str, cases: dict[str, Case], two: list[dict[str, Any]], tmp_path: Path
) -> None:
    recipe, base, rows, _ = cases[name]
    events: list[Event] = []
    alone = loop.train(recipe, base, rows, tmp_path, events.append, lambda: False)
    there, here = steps(two[0][name]["events"]), steps(events)
    assert [each["step"] for each in there] == list(range(1, len(here) + 1))
    for one, other in zip(here, there, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=2e-5)
        assert other["tokens"] == one["tokens"]
        assert other["metrics"] == pytest.approx(one["metrics"], abs=2e-5)
    (first, second) = (each[name]["weights"] for each in two)
    assert first and all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    file = WEIGHTS.get(name, "adapter_model.safetensors")
    made, wanted = (load_file(folder / file) for folder in (two[0]["folder"] / name / "artifact", alone))
    for key, value in wanted.items():
        assert torch.allclose(made[key], value, atol=2e-4), key


def test_one_writes(two: list[dict[str, Any]]) -> None:
    assert (two[0]["folder"] / "lora" / "artifact").exists()
    assert not (two[1]["folder"] / "lora" / "artifact").exists()
    assert [event.data["step"] for event in two[0]["stopped"]["events"] if event.kind == "checkpoint"] == [3]
    assert not [event for event in two[1]["stopped"]["events"] if event.kind == "checkpoint"]


@pytest.mark.parametrize(
    ("rows", "batches", "processes", "wanted"),
    [(4, 6, 3, (4, 6)), (8, 1, 2, (4, 2)), (6, 3, 2, (3, 6)), (5, 3, 3, (5, 3)), (9, 2, 6, (3, 6))],
)
def test_a_step_keeps_its_rows(narrow: Base, rows: int, batches: int, processes: int, wanted: tuple[int, int]) -> None:
    found = spread(recipe_of(narrow, made_rows(), batch_size=rows, gradient_accumulation=batches), processes)
    assert (found.batch_size, found.gradient_accumulation) == wanted


def test_what_cannot_be_shared_is_refused(narrow: Base) -> None:
    with pytest.raises(InputError, match="3 rows, and 2 processes"):
        spread(recipe_of(narrow, made_rows(), batch_size=3), 2)
    with pytest.raises(InputError, match="method: distill trains in one process"):
        spread(make_recipe({"data": "/d/x", "method": "distill", "distill": {"teacher": "t"}}), 2)
