"""The comparison with real engines on a tiny random model: it sees what differs, and nothing where nothing does."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.answers import Answers, Question, ask, telling, windows
from pumice.evaluate.run import PROOFS, READS, evaluate
from pumice.evaluate.trial import MOST, Trial, choose
from pumice.records import Base, Event, Example, Kind, Tokens, Turn
from pumice.train.methods import METHODS

QUESTIONS = [
    ("What is the capital of France?", "Paris"),
    ("Who wrote Faust?", "Goethe"),
    ("Which port is it?", "8080"),
    ("How many are twelve and three?", "Fifteen, I believe."),
    ("Name a colour.", "Red"),
    ("Name a river.", "The Rhine"),
    ("Is water wet?", "Yes"),
    ("Which month follows May?", "June"),
]


def row(question: str, answer: str, line: int = 1) -> Example:
    return Example(line, (Turn(role="user", content=question), Turn(role="assistant", content=answer)))


def quiet(event: Event) -> None:
    """Nobody listens."""


ROWS = [row(*pair, line) for line, pair in enumerate(QUESTIONS, 1)]
TEXTS = [Example(line, text=f"{question} {answer} " * 3) for line, (question, answer) in enumerate(QUESTIONS, 1)]
LONG_TEXT = Example(9, text="A river begins where water can no longer sink into the ground. " * 50)


@pytest.fixture(scope="module")
def adapter(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LoRA, strong enough to change every answer."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    config = LoraConfig(r=8, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(LlamaForCausalLM.from_pretrained(tiny.folder), config).save_pretrained(folder)
    return folder


def loss_by_transformers(base: Base, adapter: Path | None, rows: list[Tokens]) -> float:
    """The oracle: mean over all labelled tokens, with none of Pumice's engines."""
    model = LlamaForCausalLM.from_pretrained(base.folder)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    total, count = 0.0, 0
    for each in rows:
        for at in range(0, len(each.ids), base.window):
            ids, labels = (torch.tensor([part[at : at + base.window]]) for part in (each.ids, each.labels))
            labelled = int((labels[:, 1:] != -100).sum())
            with torch.no_grad():
                total += model(input_ids=ids, labels=labels).loss.item() * labelled
            count += labelled
    return total / count


async def test_base_against_itself_and_against_an_adapter(tiny: Base, adapter: Path, home: Home) -> None:
    pool, told = Pool(home.cache), list[Event]()
    rows = [Renderer(tiny.folder).train(each) for each in ROWS]
    try:
        same = await evaluate(Trial(tiny, tiny.folder, None, ROWS, "held-out rows"), pool, told.append)
        tuned = await evaluate(Trial(tiny, tiny.folder, adapter, ROWS, "held-out rows"), pool, told.append)
    finally:
        await pool.stop()

    assert same.base == same.tuned
    assert {(each.value, each.low, each.high) for each in same.differences.values()} == {(0, 0, 0)}
    assert (same.verdict, same.forgetting, same.count) == ("undecided", 0, len(ROWS))
    assert [sample.base for sample in same.samples] == [sample.tuned for sample in same.samples]

    # The base is asked without the adapter, though its engine holds it by now; the tuned side is asked with it.
    assert tuned.base == same.base
    assert tuned.tuned.loss == pytest.approx(loss_by_transformers(tiny, adapter, rows), rel=1e-4)
    assert tuned.base.loss == pytest.approx(loss_by_transformers(tiny, None, rows), rel=1e-4)
    assert tuned.differences["loss"].value == pytest.approx(tuned.tuned.loss - tuned.base.loss)
    assert tuned.tuned.perplexity == pytest.approx(math.exp(tuned.tuned.loss))
    assert tuned.forgetting != 0
    assert tuned.engines == {"base": "llama.cpp q8_0", "tuned": "llama.cpp q8_0"}
    assert all(sample.base != sample.tuned for sample in tuned.samples)
    assert len(tuned.samples) == 5

    assert_progress(told)


async def test_a_whole_model_and_texts_that_are_longer_than_the_window(tiny: Base, home: Home, tmp_path: Path) -> None:
    other = noisy(tiny, tmp_path / "other", 5.0)
    pool, rows = Pool(home.cache), [*TEXTS, LONG_TEXT]
    renderer = Renderer(tiny.folder)
    assert len(renderer.train(LONG_TEXT).ids) > tiny.window
    try:
        report = await evaluate(Trial(tiny, other.folder, None, rows, "validation file"), pool, quiet)
        with pytest.raises(InputError, match="tuned model's loss is nan"):
            broken = noisy(tiny, tmp_path / "broken", math.nan)
            await evaluate(Trial(tiny, broken.folder, None, rows, "validation file"), pool, quiet)
    finally:
        await pool.stop()

    rendered = [renderer.train(each) for each in rows]
    assert report.base.loss == pytest.approx(loss_by_transformers(tiny, None, rendered), rel=1e-4)
    assert report.tuned.loss == pytest.approx(loss_by_transformers(other, None, rendered), rel=1e-4)
    assert report.tuned.loss != pytest.approx(report.base.loss, rel=1e-3)
    assert report.differences.keys() == {"loss"}
    assert (report.tuned.exact_match, report.tuned.stopped, report.samples) == (None, None, ())
    assert report.engines == {}


def noisy(base: Base, folder: Path, amount: float) -> Base:
    """A copy of a base whose final norm is shifted."""
    folder.mkdir()
    for path in base.folder.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(base.folder / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    norm = tensors["model.norm.weight"]
    tensors["model.norm.weight"] = norm + amount * torch.randn(norm.shape, generator=generator)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return replace(base, folder=folder)


def assert_progress(told: list[Event]) -> None:
    """Each count goes from nothing to all, one at a time."""
    scores = [event.data for event in told if event.kind == "score"]
    assert {each["what"] for each in scores} == {
        f"{what} of the {side} model"
        for what in ("answers", "loss", "loss on general text")
        for side in ("base", "tuned")
    }
    done = 0
    for each in scores:
        assert each["done"] == done
        done = 0 if done == each["total"] else done + 1
    assert done == 0


def test_rows_too_long_to_be_asked_are_left_out_aloud(tiny: Base) -> None:
    told: list[Event] = []
    long_row = row("Say it again. " * 500, "No.")
    assert [each.asked for each in ask([long_row, ROWS[0]], Renderer(tiny.folder), told.append)] == [QUESTIONS[0][0]]
    assert "1 row is longer than 512 tokens and not evaluated" in told[0].data["text"]
    with pytest.raises(InputError, match="None of the 1 rows"):
        ask([long_row], Renderer(tiny.folder), told.append)
    # What an adapter puts in front takes its place in the window.
    just = row("Say it again. " * 115, "No.")
    assert 480 < len(Renderer(tiny.folder).train(just).ids) <= 512
    assert len(ask([just], Renderer(tiny.folder), quiet)) == 1
    with pytest.raises(InputError, match="has at most 480 tokens"):
        ask([just], Renderer(tiny.folder), quiet, front=32)


def test_a_question_is_the_prompt_that_v1_would_send_and_the_last_turn_its_reference(tiny: Base) -> None:
    renderer = Renderer(tiny.folder)
    first, second = ROWS[0].messages, ROWS[1].messages
    (question,) = ask([Example(1, (*first, *second))], renderer, quiet)
    assert (question.asked, question.reference) == QUESTIONS[1]
    assert question.prompt == renderer.prompt([*first, second[0]])


def test_more_than_500_rows_are_sampled_by_the_seed(tiny: Base) -> None:
    rows = [row(f"What is {i}?", str(i), i) for i in range(MOST + 100)]
    told: list[Event] = []
    chosen = choose(rows, 0, told.append)
    assert len(chosen) == MOST
    assert [each.line for each in chosen] == sorted(each.line for each in chosen)
    assert chosen == choose(rows, 0, quiet) != choose(rows, 1, quiet)
    assert "500 of 600 rows" in told[0].data["text"]
    assert choose(rows[:MOST], 0, told.append) == rows[:MOST]
    assert len(told) == 1


def test_windows_lose_no_token_but_one_that_stands_alone() -> None:
    assert [each.ids for each in windows([1, 2, 3, 4, 5, 6, 7], 3)] == [(1, 2, 3), (4, 5, 6)]
    assert [each.ids for each in windows([1, 2, 3, 4, 5], 3)] == [(1, 2, 3), (4, 5)]


def test_samples_show_gains_first_and_keep_a_place_for_a_miss() -> None:
    questions = [Question(f"q{i}", "right", [], Tokens((), ())) for i in range(8)]
    base = answers_of([0, 0, 0, 1, 0, 0, 0, 0])
    tuned = answers_of([1, 1, 0, 1, 1, 1, 1, 0])
    assert [each.question for each in telling(questions, base, tuned)] == ["q0", "q1", "q4", "q5", "q2"]
    assert [each.question for each in telling(questions, base, base)][:2] == ["q0", "q1"]
    assert [each.question for each in telling(questions[:2], tuned, base)] == ["q0", "q1"]


def answers_of(scores: list[float]) -> Answers:
    return Answers(["right" if score else "wrong" for score in scores], scores, scores, scores, 0)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_learns_from_can_be_compared_on(name: str) -> None:
    """The prompts of a distillation have no answers of their own: they get the teacher's."""
    method = METHODS[name]
    assert PROOFS.keys() == READS.keys()
    assert method.kinds - READS[method.proof] == ({Kind.PROMPTS} if name == "distill" else set())
