"""Two models compared by the answers that they find likelier, with real engines on a tiny random model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.pool import Pool
from pumice.evaluate import report as reports
from pumice.evaluate.answers import Losses, Question
from pumice.evaluate.pairs import Ranking, parted, telling
from pumice.evaluate.run import evaluate
from pumice.evaluate.trial import Trial
from pumice.records import Base, Event, Example, Report, Tokens, Turn
from pumice.train.methods import Dpo, Kto

ANSWERS = [
    ("What is the capital of France?", "Paris, of course.", "No idea."),
    ("Who wrote Faust?", "Goethe.", "Somebody who is long dead, I should think, and German."),
    ("Which port is it?", "8080", "That is written in the manual, which you could read."),
    ("Name a colour.", "Red", "Why?"),
    ("Name a river.", "The Rhine is one.", "Water."),
    ("Is water wet?", "Yes, as far as anybody can tell.", "It depends."),
    ("Which month follows May?", "June", "May not."),
]


def row(line: int, question: str, good: str, bad: str) -> Example:
    asked = Turn(role="user", content=question)
    good_turn, bad_turn = (Turn(role="assistant", content=text) for text in (good, bad))
    return Example(line, (asked, good_turn), rejected=(asked, bad_turn))


PAIRS = [row(line, *texts) for line, texts in enumerate(ANSWERS, 1)]
SINGLE = [each for pair in PAIRS for each in Kto().reads(pair)][:-1]


@pytest.fixture(scope="module")
def adapter(tiny: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LoRA, strong enough to change every answer."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    config = LoraConfig(r=8, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(LlamaForCausalLM.from_pretrained(tiny.folder), config).save_pretrained(folder)
    return folder


def by_transformers(base: Base, adapter: Path | None) -> list[list[tuple[float, int]]]:
    """The oracle: nats and tokens of both answers of each pair, with none of Pumice's engines."""
    model = LlamaForCausalLM.from_pretrained(base.folder)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    renderer, found = Renderer(base.folder), []
    for pair in PAIRS:
        both = []
        for messages in (pair.messages, pair.rejected):
            tokens = renderer.train(Example(1, messages))
            ids, labels = torch.tensor([tokens.ids]), torch.tensor([tokens.labels])
            with torch.no_grad():
                loss = model(input_ids=ids, labels=labels).loss.item()
            both.append((loss, int((labels[:, 1:] != -100).sum())))
        found.append(both)
    return found


async def test_pairs_and_single_answers_are_ranked_as_transformers_ranks_them(
    tiny: Base, adapter: Path, home: Home
) -> None:
    pool, told = Pool(home.cache), list[Event]()
    trial = Trial(tiny, tiny.folder, adapter, PAIRS, "held-out rows", samples=3, method=Dpo())
    try:
        report = await evaluate(trial, pool, told.append)
        single = await evaluate(replace(trial, examples=SINGLE, method=Kto()), pool, told.append)
    finally:
        await pool.stop()

    for side, scores, alone in ((None, report.base, single.base), (adapter, report.tuned, single.tuned)):
        found = by_transformers(tiny, side)
        margins = [bad[0] - good[0] for good, bad in found]
        assert scores.margin == pytest.approx(sum(margins) / len(margins), abs=1e-3)
        assert scores.accuracy == sum(margin > 0 for margin in margins) / len(margins)
        loss = sum(good[0] * good[1] for good, _ in found) / sum(good[1] for good, _ in found)
        assert scores.loss == alone.loss == pytest.approx(loss, rel=1e-4)
        good, bad = [good[0] for good, _ in found], [bad[0] for _, bad in found[:-1]]
        above = sum(one < other for one in good for other in bad)
        assert alone.accuracy == pytest.approx(above / len(good) / len(bad)) and alone.margin is None
    assert (report.count, single.count) == (7, 13)
    assert report.differences.keys() == {"accuracy", "margin", "loss"}
    assert single.differences.keys() == {"accuracy", "loss"}
    assert report.differences["margin"].value == pytest.approx(report.tuned.margin - report.base.margin)
    assert report.forgetting == pytest.approx(report.tuned.general_loss - report.base.general_loss) != 0
    assert_readable(report, single)


def assert_readable(report: Report, single: Report) -> None:
    """Samples show good answers, and the sentences name what was compared."""
    good = {question: answer for question, answer, _ in ANSWERS}
    for each in (*report.samples, *single.samples):
        assert good[each.question] == each.reference and each.base != each.tuned
    assert len(report.samples) == len(single.samples) == 3
    assert reports.from_json(reports.to_json(report)) == report
    names = [line.name for line in reports.table(report)]
    assert names[:2] == ["accuracy", "margin, nats a token"]
    assert "on 7 held-out pairs" in reports.sentence(report)
    assert "on 13 held-out answers" in reports.sentence(single)


def losses(*means: float) -> Losses:
    return Losses([2 * each for each in means], [2 for _ in means])


def test_a_rank_is_right_or_wrong_for_pairs_and_a_share_for_single_answers() -> None:
    assert Ranking(losses(1, 5, 3), losses(2, 4, 6), True).ranks == [1, 0, 1]
    assert Ranking(losses(1, 5, 3), losses(2, 4, 6), True).margins == [1, -1, 3]
    single = Ranking(losses(1, 5), losses(2, 4, 6), False)
    assert single.ranks == pytest.approx([1, 1 / 3, 1 / 2, 1 / 2, 1])
    assert sum(single.ranks) / 5 == pytest.approx(4 / 6)


def test_answers_of_one_kind_rank_nothing() -> None:
    for alone in (Ranking(losses(1), losses(), False), Ranking(losses(), losses(1), False)):
        assert alone.ranks == [] and alone.read == losses(1)


def test_losses_of_endings_are_told_apart() -> None:
    tokens = Tokens((1, 2), (-100, 2))
    pair = Question("q", "a", [1], replace(tokens, rejected=tokens))
    wanted, unwanted = (Question("q", "a", [1], replace(tokens, label=label)) for label in (True, False))
    assert parted(losses(1, 2, 3, 4), [pair, pair], True) == Ranking(losses(1, 3), losses(2, 4), True)
    found = parted(losses(1, 2, 3), [wanted, unwanted, wanted], False)
    assert found == Ranking(losses(1, 3), losses(2), False)


def test_samples_show_the_most_gained_and_the_least() -> None:
    questions = [Question(f"q{i}", "a", [1], Tokens((1,), (1,))) for i in range(4)]
    base = Ranking(losses(2, 2, 2, 2), losses(3, 3, 3, 3), True)
    tuned = Ranking(losses(2, 1, 3, 2), losses(3, 3, 3, 4.5), True)
    assert [each.asked for each in telling(base, tuned, questions, 3)] == ["q3", "q1", "q2"]
    assert [each.asked for each in telling(base, tuned, questions, 9)] == ["q3", "q1", "q0", "q2"]
