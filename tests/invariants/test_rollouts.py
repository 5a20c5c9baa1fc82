"""rlhf keeps the promises of every method, though its answers are written while it trains, by chance."""

from __future__ import annotations

import json
import shutil
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
from pumice.bases.resolve import describe
from pumice.data.render import Renderer
from pumice.errors import InputError
from pumice.records import Base, Event, Example, Tokens, Turn
from pumice.train import loop
from pumice.train.methods import Rlhf
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe
from pumice.train.trainers.rlhf import Judge, Order, Rollouts

SYSTEM: Turn = {"role": "system", "content": "Be brief.\n\n"}
QUESTIONS = ("Who?", "Where is it?  ", "Why Zürich 🏔?", "How much?", "When <|im_end|> then?", "Which one of the two?")
KNOBS: dict[str, Any] = {"reward": "length:1", "max_tokens": 4, "answers": 3, "kl_limit": 100.0}
ADAPTER, WHOLE = "adapter_model.safetensors", "model.safetensors"


def asked(question: str) -> tuple[Turn, ...]:
    return SYSTEM, {"role": "user", "content": question}


def recipe_for(base: Base, **values: Any) -> Recipe:
    """Three steps an epoch."""
    shared = {"data": "/d/p", "method": "rlhf", "epochs": 2, "batch_size": 2, "learning_rate": 1e-2, "save_steps": 100}
    knobs = {**KNOBS, **values.pop("rlhf", {})}
    return resolve_recipe(make_recipe({**shared, **values, "rlhf": knobs}), base, len(QUESTIONS), 120).recipe


def rows_for(base: Base, recipe: Recipe) -> list[Tokens]:
    renderer = Renderer(base.folder)
    examples = [Example(line, asked(question)) for line, question in enumerate(QUESTIONS, 1)]
    return [renderer.train(row) for example in examples for row in recipe.knobs.reads(example)]


class Ran:
    """A training, and what it told."""

    def __init__(self, base: Base, folder: Path, recipe: Recipe, **more: Any) -> None:
        self.events: list[Event] = []
        tell = more.pop("tell", self.events.append)
        self.artifact = loop.train(recipe, base, rows_for(base, recipe), folder, tell, lambda: False, **more)

    @property
    def steps(self) -> list[dict[str, Any]]:
        keys = ("step", "loss", "tokens", "metrics")
        return [{key: event.data[key] for key in keys} for event in self.events if event.kind == "step"]

    @property
    def notes(self) -> list[str]:
        return [event.data["text"] for event in self.events if event.kind == "note"]

    def weights(self, name: str = ADAPTER) -> bytes:
        return (self.artifact / name).read_bytes()


@pytest.fixture(scope="module")
def plain(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tiny, tmp_path_factory.mktemp("plain"), recipe_for(tiny))


def test_a_step_tells_reward_kl_and_length(plain: Ran) -> None:
    assert [step["step"] for step in plain.steps] == [1, 2, 3, 4, 5, 6]
    names = {"reward", "reward_std", "kl", "completions/mean_length"}
    assert all(set(step["metrics"]) == names for step in plain.steps)
    assert plain.steps[0]["metrics"]["kl"] == 0 and plain.steps[-1]["metrics"]["kl"] > 0
    assert {path.name for path in plain.artifact.iterdir() if path.is_dir()} == set()


def test_generate_gets_the_ids_that_the_chat_route_sends(tiny: Base, tmp_path: Path) -> None:
    recipe = recipe_for(tiny)
    rows = rows_for(tiny, recipe)
    trainer = loop.build(recipe, tiny, rows, tmp_path, None, lambda event: None)
    model: Any = trainer.model
    generate, seen = model.generate, []

    def watched(**given: Any) -> Any:
        seen.extend(zip(given["input_ids"], given["attention_mask"], strict=True))
        return generate(**given)

    model.generate = watched
    trainer.try_step(rows[1:3])
    got = [ids[mask.bool()].tolist() for ids, mask in seen]
    renderer = Renderer(tiny.folder)
    for place, ids in zip((1, 2), (got[0], got[3]), strict=True):
        request = ChatRequest.model_validate({"model": "x", "messages": list(asked(QUESTIONS[place]))})
        assert ids == list(ask(request, Served("x", tiny, renderer, None))[0].ids)
    # Each prompt as often as it is answered, and what ends an answer is what ends it when it is served.
    assert got == [got[0]] * 3 + [got[3]] * 3
    assert isinstance(trainer, Rollouts) and trainer.eos_token_ids == list(renderer.stop_ids)


def test_the_rehearsal_leaves_no_trace(tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two batches a step: what the rehearsal wrote is there for the second, unless it is forgotten."""
    recipe = recipe_for(tiny, batch_size=1, gradient_accumulation=2, epochs=1)
    rehearsed = Ran(tiny, tmp_path / "rehearsed", recipe)
    monkeypatch.setattr(loop, "rehearse", lambda *_: 0.0)
    plain = Ran(tiny, tmp_path / "plain", recipe)
    assert rehearsed.steps == plain.steps
    assert rehearsed.weights() == plain.weights()


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def killer(step: int) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if event.kind == "step" and event.data["step"] == step:
            raise Killed

    return tell


@pytest.mark.parametrize("save_steps", [2, 3], ids=["in the second epoch", "between epochs"])
def test_killed_and_resumed_is_never_killed(tiny: Base, plain: Ran, tmp_path: Path, save_steps: int) -> None:
    recipe = recipe_for(tiny, save_steps=save_steps)
    with pytest.raises(Killed):
        Ran(tiny, tmp_path, recipe, tell=killer(5))
    resumed = Ran(tiny, tmp_path, recipe)
    assert resumed.steps[0]["step"] == 7 - save_steps if save_steps == 3 else 5
    assert resumed.weights() == plain.weights()


def test_each_epoch_has_an_order_of_its_own() -> None:
    def order(epoch: int, seed: int) -> list[int]:
        given: dict[str, Any] = {"data_source": range(40), "mini_repeat_count": 1, "batch_size": 4, "repeat_count": 1}
        return list(Order(lambda: epoch, seed, **given))

    assert order(0, 7) == order(0, 7) != order(1, 7) == order(1, 7)
    assert sorted(order(1, 7)) == list(range(40))


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_batches_and_accumulation_give_the_same_weights(tiny: Base, tmp_path: Path, algorithm: str) -> None:
    made = []
    for at_once in (2, 1):
        values = {"batch_size": at_once, "gradient_accumulation": 2 // at_once, "epochs": 1}
        recipe = recipe_for(tiny, **values, rlhf={"algorithm": algorithm})
        made.append(Ran(tiny, tmp_path / str(at_once), recipe))
    together, apart = (load_file(one.artifact / ADAPTER) for one in made)
    # One step of Adam is as large as the rate, whatever the gradient: what differs must be far below that.
    assert all((together[name] - apart[name]).abs().max() < 1e-4 for name in together)
    assert made[0].steps[0]["metrics"]["reward"] == pytest.approx(made[1].steps[0]["metrics"]["reward"])


def test_an_adapter_that_goes_on_is_measured_from_where_it_starts(tiny: Base, plain: Ran, tmp_path: Path) -> None:
    on = Ran(tiny, tmp_path, recipe_for(tiny, epochs=1), start_adapter=plain.artifact)
    assert plain.steps[-1]["metrics"]["kl"] > 1e-4
    assert on.steps[0]["metrics"]["kl"] == 0 and on.steps[-1]["metrics"]["kl"] > 0
    assert on.weights() != plain.weights()
    assert {path.name for path in on.artifact.iterdir() if path.is_dir()} == set()


def test_whole_weights_are_measured_from_the_base(tiny: Base, tmp_path: Path) -> None:
    ran = Ran(tiny, tmp_path, recipe_for(tiny, epochs=1, learning_rate=1e-3, rlhf={"weights": "full"}))
    assert ran.steps[0]["metrics"]["kl"] == pytest.approx(0, abs=1e-6) and ran.steps[-1]["metrics"]["kl"] > 1e-5
    assert ran.weights(WHOLE) != (tiny.folder / WHOLE).read_bytes()


@pytest.fixture(scope="module")
def talker(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The tiny base after it has learned three answers to each question, and gives each as often as the others."""
    renderer = Renderer(tiny.folder)
    turns: list[tuple[Turn, ...]] = [
        (*asked(question), {"role": "assistant", "content": answer})
        for question in QUESTIONS
        for answer in ("Yes.", "No.", "Perhaps.")
    ]
    rows = [renderer.train(Example(1, each)) for each in turns]
    values = {"data": "/d/p", "method": "full", "learning_rate": 1e-2, "epochs": 20, "batch_size": 6}
    recipe, _ = resolve_recipe(make_recipe(values), tiny, len(rows), 700)
    folder = tmp_path_factory.mktemp("talker")
    artifact = loop.train(recipe, tiny, rows, folder, lambda event: None, lambda: False)
    return describe(artifact, "talker", f"folder:{artifact}")


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_the_reward_rises(talker: Base, tmp_path: Path, algorithm: str) -> None:
    """One of three answers is rewarded, and is soon the one that is given."""
    knobs = {"reward": "regex:^Yes", "max_tokens": 3, "answers": 8, "algorithm": algorithm, "weights": "full"}
    steps = Ran(talker, tmp_path, recipe_for(talker, epochs=5, learning_rate=2e-3, rlhf=knobs)).steps
    first, last = (sum(step["metrics"]["reward"] for step in part) / 3 for part in (steps[:3], steps[-3:]))
    assert first < 0.5 and last > first + 0.3


def test_a_model_that_moves_too_far_ends_early_and_is_kept(tiny: Base, tmp_path: Path) -> None:
    """Two steps in a row: one may be chance."""
    ran = Ran(tiny, tmp_path, recipe_for(tiny, rlhf={"kl_limit": 1e-5}))
    past = [step["metrics"]["kl"] > 1e-5 for step in ran.steps]
    assert past == [False, True, True]
    (note,) = [text for text in ran.notes if "rlhf.kl_limit" in text]
    assert note.endswith("training ends after step 3 of 6.")
    assert ran.weights()


def test_logits_for_answers_alone_give_the_same_numbers(tiny: Base, tmp_path: Path) -> None:
    recipe = recipe_for(tiny)
    trainer: Any = loop.build(recipe, tiny, rows_for(tiny, recipe), tmp_path, None, lambda event: None)
    assert trainer.fast_loss
    torch.manual_seed(1)
    ids = torch.randint(1000, 2000, (3, 9))
    mask = torch.ones_like(ids)
    mask[0, :2], mask[1, 7:] = 0, 0
    found = {}
    for fast in (True, False):
        trainer.fast_loss = fast
        trainer.model.zero_grad()
        values = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 4)
        (values[0] * mask[:, -4:] * torch.arange(1.0, 13).view(3, 4)).sum().backward()
        gradients = [one.grad.clone() for one in trainer.model.parameters() if one.grad is not None]
        found[fast] = [values[0] * mask[:, -4:], *gradients]
    assert len(found[True]) == len(found[False]) > 10
    for ours, theirs in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_prompt_without_room_for_an_answer_is_refused(tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The longest prompt has \d+ tokens and rlhf.max_tokens is 500"):
        Ran(tiny, tmp_path, recipe_for(tiny, rlhf={"max_tokens": 500}))
    # An engine holds no more than 4,096 tokens, however much the model sees: what answers longer cannot be compared.
    with pytest.raises(InputError, match="The longest prompt has") as caught:
        Ran(replace(tiny, window=8192), tmp_path, recipe_for(tiny, rlhf={"max_tokens": 4090}))
    assert "the 4,096 tokens that an engine holds of tiny" in caught.value.why


def test_a_failing_scorer_ends_the_training_with_its_line(tiny: Base, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(prompt, answer, facts):\n    return facts['none']\n")
    with pytest.raises(InputError, match=r"mine\.py:2: KeyError: 'none'"):
        Ran(tiny, tmp_path, recipe_for(tiny, rlhf={"reward": f"{tmp_path}/mine.py:score"}))


def test_a_reward_model_reads_prompt_and_answer_as_it_was_trained(
    tiny: Base, classifiers: dict[str, Path], tmp_path: Path
) -> None:
    renderer, judge = Renderer(tiny.folder), Judge(classifiers["reward"], False)
    whole = renderer.train(Example(1, (*asked("Who?"), {"role": "assistant", "content": "Anna."}), wanted=True))
    prompt = renderer.train(Example(1, asked("Who?")))
    assert list(whole.ids[: len(prompt.ids)]) == list(prompt.ids)
    answer = whole.ids[len(prompt.ids) :]
    ids = torch.tensor([whole.ids])
    assert judge(prompt, answer) == float(judge.model(ids).logits[0, 0].detach())
    # Two answers are told apart, and a training asks it.
    assert judge(prompt, answer) != judge(prompt, answer[:-2])
    recipe = recipe_for(tiny, epochs=1, rlhf={"reward": "judge"})
    ran = Ran(tiny, tmp_path, recipe, guide=classifiers["reward"])
    assert all(step["metrics"]["reward_std"] > 0 for step in ran.steps)


def test_what_is_no_reward_model_or_reads_otherwise_is_refused(
    tiny: Base, classifiers: dict[str, Path], tmp_path: Path
) -> None:
    recipe = recipe_for(tiny, rlhf={"reward": "judge"})
    assert isinstance(recipe.knobs, Rlhf)
    for guide in (tiny.folder, classifiers["head"]):
        with pytest.raises(InputError, match=r"rlhf\.reward: judge is no reward model"):
            Ran(tiny, tmp_path / "run", recipe, guide=guide)
    for file, change in (
        ("tokenizer.json", lambda text: json.dumps(json.loads(text) | {"normalizer": {"type": "Lowercase"}})),
        ("chat_template.jinja", lambda text: text + " "),
    ):
        other = tmp_path / file
        shutil.copytree(classifiers["reward"], other)
        (other / file).write_text(change((other / file).read_text()))
        with pytest.raises(InputError, match="judge reads texts in another way"):
            Ran(tiny, tmp_path / "run", recipe, guide=other)
