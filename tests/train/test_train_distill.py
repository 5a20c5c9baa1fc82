"""A student that reads along with its teacher: the loss is the divergence, however a step is cut, and it falls."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from pumice.records import Base, Event, Tokens
from pumice.train import scratch
from pumice.train.fast import losses
from pumice.train.loop import train
from pumice.train.methods import Pretrain
from pumice.train.recipe import make_recipe, resolve_recipe


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def made_rows() -> list[Tokens]:
    """Eleven rows of very different lengths; of every second one the middle is not trained."""
    dice = random.Random(2)
    rows = []
    for number in range(11):
        ids = tuple(dice.randrange(3, 500) for _ in range(dice.choice((3, 9, 40))))
        first, second = len(ids) // 3, 2 * len(ids) // 3
        labels = ids[:first] + (-100,) * (second - first) + ids[second:] if number % 2 else ids
        rows.append(Tokens(ids, labels))
    return rows


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A random base with few tokens, so that steps are quick."""
    words = "".join(random.Random(1).choices("abcdefgh ", k=20_000))
    return scratch.new_base(
        Pretrain(size="1M", vocabulary=512), 64, 0, [words], tmp_path_factory.mktemp("small") / "base"
    )


@pytest.fixture(scope="module")
def teacher(small: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another random model with the same tokens, narrower than the student, and sure of what it says."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(5)
    config = LlamaConfig.from_pretrained(small.folder)
    heads = {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    config.update({"hidden_size": 64, **heads, "initializer_range": 0.3, "vocab_size": small.vocabulary + 16})
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def run(
    base: Base, guide: Path, folder: Path, tell: Any = None, temperature: float = 2.0, **values: Any
) -> tuple[list[float], Path]:
    rows, events = made_rows(), list[Event]()
    table = {"teacher": "x", "source": "logits", "temperature": temperature, "weights": "full"}
    given = {"data": "/d/rows", "epochs": 2, "learning_rate": 1e-3, "save_steps": 2, "method": "distill", **values}
    recipe = resolve_recipe(make_recipe({"distill": table, **given}), base, len(rows), 200).recipe
    artifact = train(recipe, base, rows, folder, tell or events.append, lambda: False, guide=guide)
    return [event.data["loss"] for event in events if event.kind == "step"], artifact


@pytest.fixture(scope="module")
def reference(small: Base, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], Path]:
    """Four rows a step, padded."""
    return run(small, teacher, tmp_path_factory.mktemp("reference"), packing=False, batch_size=4)


@pytest.mark.parametrize(("packing", "batch_size", "accumulation"), [(True, 4, 1), (True, 2, 2), (False, 1, 4)])
def test_the_same_rows_a_step_give_the_same_trajectory(
    small: Base,
    teacher: Path,
    reference: tuple[list[float], Path],
    tmp_path: Path,
    packing: bool,
    batch_size: int,
    accumulation: int,
) -> None:
    cut = {"packing": packing, "batch_size": batch_size, "gradient_accumulation": accumulation}
    losses, artifact = run(small, teacher, tmp_path, **cut)
    assert losses == pytest.approx(reference[0], rel=1e-4)
    weights, expected = (load_file(folder / "model.safetensors") for folder in (artifact, reference[1]))
    distance = sum(float((weights[name] - expected[name]).square().sum()) for name in expected) ** 0.5
    size = sum(float(expected[name].square().sum()) for name in expected) ** 0.5
    assert distance < 1e-3 * size


def test_the_loss_is_the_divergence_that_the_paper_names(
    small: Base, teacher: Path, reference: tuple[list[float], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T^2 KL(teacher || student) at the trained tokens, from whole logits, row by row; chunks make no difference."""
    student, known = (AutoModelForCausalLM.from_pretrained(folder) for folder in (small.folder, teacher))
    total, count = 0.0, 0
    with torch.no_grad():
        for row in made_rows():
            ids, labels = torch.tensor([row.ids]), torch.tensor(row.labels[1:])
            ours = F.log_softmax(student(ids).logits[0, :-1] / 2, 1)[labels != -100]
            theirs = F.log_softmax(known(ids).logits[0, :-1, : small.vocabulary] / 2, 1)[labels != -100]
            total += 4 * float((theirs.exp() * (theirs - ours)).sum())
            count += int((labels != -100).sum())
    monkeypatch.setattr(losses, "CHUNK", 7)
    told, _ = run(small, teacher, tmp_path, epochs=1, batch_size=11)
    assert told == [pytest.approx(total / count, rel=1e-4)]


def test_a_student_that_is_its_teacher_has_nothing_to_learn(small: Base, tmp_path: Path) -> None:
    losses, _ = run(small, small.folder, tmp_path, epochs=1, batch_size=11)
    assert losses == [pytest.approx(0, abs=1e-6)]


def test_the_student_comes_near_its_teacher(small: Base, teacher: Path, tmp_path: Path) -> None:
    losses, artifact = run(small, teacher, tmp_path, epochs=12, batch_size=11, learning_rate=2e-2, temperature=1.0)
    assert losses[-1] < 0.8 * losses[0]
    assert (artifact / "model.safetensors").exists() and not list(artifact.glob("*teacher*"))


def test_killed_and_resumed_is_never_killed(
    small: Base, teacher: Path, reference: tuple[list[float], Path], tmp_path: Path
) -> None:
    def killer(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == 5:
            raise Killed

    values = {"packing": False, "batch_size": 4}
    with pytest.raises(Killed):
        run(small, teacher, tmp_path, killer, **values)
    losses, artifact = run(small, teacher, tmp_path, **values)
    assert len(losses) == 2
    name = "model.safetensors"
    assert (artifact / name).read_bytes() == (reference[1] / name).read_bytes()
