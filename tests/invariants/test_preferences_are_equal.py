"""Promises 1, 4 and 5 for judged answers: how a step is computed and a kill change nothing, and ids are those sent."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pumice.api.openai.chat import ask
from pumice.api.openai.wire import ChatRequest
from pumice.api.served import Served
from pumice.data.render import Renderer
from pumice.records import Base, Event, Example, Tokens, Turn
from pumice.train.fast import parts
from pumice.train.loop import build, train
from pumice.train.methods import METHODS
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe

CASES: dict[str, dict[str, Any]] = {
    "dpo": {"method": "dpo"},
    "dpo of every weight": {"method": "dpo", "dpo": {"weights": "full"}, "learning_rate": 1e-3},
    "kto": {"method": "kto"},
    "kto of every weight": {"method": "kto", "kto": {"weights": "full"}, "learning_rate": 1e-3},
    "orpo": {"method": "orpo", "lora": {"dropout": 0.2}},
}


def made_rows(method: str, count: int = 7) -> list[Tokens]:
    """Pairs of very different lengths, as `method` gets them: kto as two rows each, of which one is missing."""
    dice = random.Random(6)
    rows = []
    for _ in range(count):
        prompt, *answers = (tuple(dice.randrange(1000, 1900) for _ in range(dice.choice((2, 5, 20)))) for _ in range(3))
        chosen, rejected = (Tokens((*prompt, *each), (*[-100] * len(prompt), *each)) for each in answers)
        rows.append(replace(chosen, rejected=rejected))
    if method != "kto":
        return rows
    return [replace(each, rejected=None, label=each is row) for row in rows for each in row.endings][:-1]


def recipe_for(base: Base, rows: list[Tokens], **values: Any) -> Recipe:
    given = {"data": "/d/rows", "epochs": 2, "learning_rate": 1e-2, "save_steps": 1, **values}
    return resolve_recipe(make_recipe(given), base, len(rows), sum(row.size for row in rows)).recipe


def run(
    base: Base, folder: Path, tell: Callable[[Event], None], adapter: Path | None = None, **values: Any
) -> dict[str, torch.Tensor]:
    """The weights of the artifact."""
    rows = made_rows(values["method"])
    artifact = train(recipe_for(base, rows, **values), base, rows, folder, tell, lambda: False, adapter)
    return load_file(next(artifact.glob("*.safetensors")))


def losses(events: list[Event]) -> list[float]:
    return [event.data["loss"] for event in events if event.kind == "step"]


@pytest.mark.parametrize("case", [name for name in CASES if name != "orpo"] + ["orpo without chance"])
def test_the_same_rows_a_step_give_the_same_trajectory(
    narrow: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The last step of an epoch has fewer rows, which fill its batches unevenly. The first run has nothing of ours."""
    monkeypatch.setattr(parts, "TOKENS", 50)
    values = CASES.get(case, {"method": "orpo"})
    results = []
    for batch_size, fast in ((4, False), (4, True), (2, True), (1, True)):
        cut = {"batch_size": batch_size, "gradient_accumulation": 4 // batch_size, "save_steps": 100, "fast": fast}
        events: list[Event] = []
        results.append((run(narrow, tmp_path / str(len(results)), events.append, **values, **cut), losses(events)))
    expected, trajectory = results[0]
    assert len(trajectory) == (4 if "kto" not in case else 8) and len(set(trajectory)) == len(trajectory)
    for weights, found in results[1:]:
        assert found == pytest.approx(trajectory, abs=1e-5)
        # Adam makes a full step of the smallest gradient, so rounding shows where a gradient is almost zero.
        distance = sum(float((weights[name] - expected[name]).square().sum()) for name in expected) ** 0.5
        size = sum(float(expected[name].square().sum()) for name in expected) ** 0.5
        assert distance < 1e-3 * size


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def killer(step: int) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == step:
            raise Killed

    return tell


@pytest.fixture(scope="module")
def adapter(narrow: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose training goes on."""
    folder = tmp_path_factory.mktemp("adapter")
    run(narrow, folder, lambda _: None, method="orpo", epochs=1)
    return folder / "artifact"


@pytest.mark.parametrize("case", [*CASES, "dpo of an adapter that goes on", "kto of an adapter that goes on"])
def test_killed_and_resumed_is_never_killed(narrow: Base, tmp_path: Path, adapter: Path, case: str) -> None:
    """What a resumed run measures from is still where the first one began."""
    values = {"batch_size": 2, "gradient_accumulation": 2, **CASES.get(case, {"method": case[:3]})}
    start = adapter if case not in CASES else None
    told: list[Event] = []
    expected = run(narrow, tmp_path / "whole", told.append, start, **values)
    with pytest.raises(Killed):
        run(narrow, tmp_path / "killed", killer(3), start, **values)
    again: list[Event] = []
    weights = run(narrow, tmp_path / "killed", again.append, start, **values)
    assert losses(again) == losses(told)[2:]
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


CONVERSATION: tuple[Turn, ...] = (
    {"role": "system", "content": "Be brief.\n\n"},
    {"role": "user", "content": "Who runs the warehouse?  "},
    {"role": "assistant", "content": "\nAnna Voss"},
    {"role": "user", "content": "And the office in Zürich? 🏔"},
)
GOOD: Turn = {"role": "assistant", "content": " Boris <|im_end|> Novak"}
BAD: Turn = {"role": "assistant", "content": "Nobody that I know of."}
OTHER: tuple[Turn, ...] = ({"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."})


@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_a_batch_holds_the_ids_that_the_chat_route_sends(tiny: Base, tmp_path: Path, method: str) -> None:
    renderer = Renderer(tiny.folder)
    pairs = [
        Example(1, (*CONVERSATION, GOOD), rejected=(*CONVERSATION, BAD)),
        Example(2, OTHER, rejected=(OTHER[0], BAD)),
    ]
    rows = [renderer.train(each) for pair in pairs for each in METHODS[method]().reads(pair)]
    trainer: Any = build(recipe_for(tiny, rows, method=method), tiny, rows, tmp_path, None, lambda _: None)
    batch = trainer.collated(rows)
    # A pair's endings are rows 0 and 2 of a batch of two pairs, and rows 0 and 1 of single answers.
    places = (0, 1) if method == "kto" else (0, 2)
    asked = ChatRequest.model_validate({"model": "x", "messages": list(CONVERSATION)})
    sent = list(ask(asked, Served("x", tiny, renderer, None))[0].ids)
    for place, answer in zip(places, (GOOD, BAD), strict=True):
        ids, trained = batch["input_ids"][place].tolist(), batch["completion_mask"][place].tolist()
        assert ids[: len(sent)] == sent and trained[: len(sent)] == [0] * len(sent)
        answered = [id for id, counts in zip(ids, trained, strict=True) if counts]
        assert answered == list(renderer.train(Example(1, (*CONVERSATION, answer))).ids[len(sent) :][: len(answered)])
        assert answered[-1] == renderer.stop_ids[0]
