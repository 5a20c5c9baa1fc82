"""Two models compared by what a scorer gives their answers, with real engines on a tiny random model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, LlamaForCausalLM

from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate import report as reports
from pumice.evaluate.rewards import ask
from pumice.evaluate.run import evaluate
from pumice.evaluate.trial import Trial
from pumice.records import Base, Event, Example, Report, Turn
from pumice.train.methods import Rlhf

QUESTIONS = ("Who?", "Where?", "Why Zürich?", "How much is it?", "When then?", "Which one of the two?", "Whose?")
PROMPTS = [Example(line, (Turn(role="user", content=each),)) for line, each in enumerate(QUESTIONS, 1)]
LONGEST = 6


@pytest.fixture(scope="module")
def adapter(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LoRA, strong enough to change every answer."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    config = LoraConfig(r=8, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(LlamaForCausalLM.from_pretrained(tiny.folder), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compared(
    tiny: Base, adapter: Path, classifiers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Report]:
    """The same trial three ways: by length, by a reward model, and of the base with itself."""
    folder = tmp_path_factory.mktemp("rewards")
    (folder / "mine.py").write_text("def score(prompt, answer, facts):\n    return len(answer) / 100\n")
    knobs = Rlhf(reward=f"{folder / 'mine.py'}:score", max_tokens=LONGEST)
    trial = Trial(tiny, tiny.folder, adapter, PROMPTS, "held-out rows", samples=20, method=knobs)
    judged = replace(trial, method=Rlhf(reward="judge", max_tokens=LONGEST), guide=classifiers["reward"])

    async def run() -> dict[str, Report]:
        async with Pool(Home(folder).cache) as pool:
            trials = {"own": trial, "judged": judged, "itself": replace(trial, adapter=None)}
            return {name: await evaluate(each, pool, lambda event: None) for name, each in trials.items()}

    return asyncio.run(run())


def test_the_scorer_judges_the_answers_that_are_shown(compared: dict[str, Report]) -> None:
    report = compared["own"]
    assert len(report.samples) == report.count == len(QUESTIONS)
    for side in ("base", "tuned"):
        texts = [vars(sample)[side] for sample in report.samples]
        assert vars(report)[side].reward == pytest.approx(sum(len(text) / 100 for text in texts) / len(texts))
    change = report.differences["reward"]
    assert change.value == pytest.approx((report.tuned.reward or 0) - (report.base.reward or 0))
    assert {each.question for each in report.samples} == set(QUESTIONS)
    gains = [len(each.tuned) - len(each.base) for each in report.samples]
    assert gains == sorted(gains, reverse=True)


@pytest.fixture(scope="module")
def model(tiny: Base, adapter: Path) -> PeftModel:
    """The oracle: both models at once, with none of Pumice's engines."""
    return PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tiny.folder), adapter)


def read_by(model: PeftModel, renderer: Renderer) -> list[tuple[int, torch.Tensor]]:
    """Each prompt's size, and its ids with the model's greedy answer behind them, stop token included."""
    found = []
    for each in PROMPTS:
        ids = torch.tensor([renderer.prompt(each.messages)])
        settings = {"max_new_tokens": LONGEST, "do_sample": False, "pad_token_id": 2, "eos_token_id": 2}
        found.append((ids.shape[1], model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)))
    return found


def test_the_divergence_is_that_of_transformers(tiny: Base, model: PeftModel, compared: dict[str, Report]) -> None:
    total, count = 0.0, 0
    for size, whole in read_by(model, Renderer(tiny.folder)):
        with torch.no_grad():
            after = model(whole).logits.log_softmax(-1)
            with model.disable_adapter():
                before = model(whole).logits.log_softmax(-1)
        gained = (after - before)[0, :-1].gather(1, whole[0, 1:, None])[size - 1 :, 0]
        total, count = total + float(gained.sum()), count + len(gained)
    # The answers come from llama.cpp's 8-bit weights, so that a few of their tokens may be others.
    assert total / count > 0.1
    assert compared["own"].tuned.kl == pytest.approx(total / count, rel=0.2)
    assert compared["own"].base.kl is None


def test_a_model_compared_with_itself_has_moved_nowhere(compared: dict[str, Report]) -> None:
    report = compared["itself"]
    assert report.tuned.kl == pytest.approx(0, abs=1e-6) and report.forgetting == pytest.approx(0)
    assert report.differences["reward"].value == 0 and report.verdict == "undecided"


def test_a_reward_model_judges_prompt_and_answer(
    tiny: Base, model: PeftModel, classifiers: dict[str, Path], compared: dict[str, Report]
) -> None:
    renderer, report = Renderer(tiny.folder), compared["judged"]
    judge = AutoModelForSequenceClassification.from_pretrained(classifiers["reward"])

    def rewards() -> float:
        with torch.no_grad():
            scores = [float(judge(whole).logits) for _, whole in read_by(model, renderer)]
        return sum(scores) / len(scores)

    with model.disable_adapter():
        assert report.base.reward == pytest.approx(rewards(), abs=0.05)
    assert report.tuned.reward == pytest.approx(rewards(), abs=0.5)
    assert report.base.reward != report.tuned.reward


def test_a_report_of_rewards_is_told(compared: dict[str, Report]) -> None:
    report = compared["own"]
    rows = {row.name: row for row in reports.table(report)}
    assert {"reward", "stopped by itself", "KL from the base, nats a token", "loss on general text"} == set(rows)
    assert "the reward" in reports.sentence(report)
    assert reports.from_json(reports.to_json(report)) == report


def test_prompts_without_room_are_left_out_and_said_to_be(tiny: Base) -> None:
    renderer, told = Renderer(tiny.folder), list[Event]()
    long = Example(9, (Turn(role="user", content="word " * 300),))
    kept, ids = ask([*PROMPTS, long], 250, renderer, told.append)
    assert kept == PROMPTS and len(ids) == len(PROMPTS)
    assert told[0].data["text"] == "1 prompt is longer than 262 tokens and not evaluated."
    with pytest.raises(InputError, match="None of the 1 prompts to evaluate on has at most 262 tokens"):
        ask([long], 250, renderer, told.append)
