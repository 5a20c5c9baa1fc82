"""DPO, KTO and ORPO learn which answer is better, measured from where they start, and tell how far they are."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from pumice.engine.merge import merge
from pumice.errors import InputError
from pumice.records import Base, Event, Tokens
from pumice.train import loop
from pumice.train.loop import build, train
from pumice.train.recipe import Recipe, make_recipe, resolve_recipe
from pumice.train.trainers.kto import answer_elsewhere, elsewhere

METHODS = ("dpo", "kto", "orpo")
LONGER: dict[str, dict[str, Any]] = {"orpo": {"epochs": 12, "learning_rate": 2e-2}}
"""Of ORPO's loss the answer itself is the most: it ranks later."""


def ids_of(dice: random.Random, least: int, most: int, words: range = range(1000, 1900)) -> tuple[int, ...]:
    return tuple(dice.choice(words) for _ in range(dice.randrange(least, most)))


def made_pairs(count: int = 8, seed: int = 1) -> list[Tokens]:
    """Behind each prompt an answer of low ids, which was chosen, and a longer one of high ids."""
    dice = random.Random(seed)
    rows = []
    for _ in range(count):
        prompt = ids_of(dice, 3, 12)
        low, high = ids_of(dice, 2, 6, range(1000, 1008)), ids_of(dice, 4, 10, range(1900, 1908))
        chosen, rejected = (Tokens((*prompt, *answer), (*[-100] * len(prompt), *answer)) for answer in (low, high))
        rows.append(replace(chosen, rejected=rejected))
    return rows


def rows_for(method: str, pairs: list[Tokens]) -> list[Tokens]:
    """Pairs as `method` gets them: kto as single answers."""
    if method != "kto":
        return pairs
    return [replace(each, rejected=None, label=each is pair) for pair in pairs for each in pair.endings]


def resolved(base: Base, rows: list[Tokens], **values: Any) -> Recipe:
    given = {"data": "/d/pairs", "epochs": 6, "batch_size": 4, "learning_rate": 1e-2, "save_steps": 100, **values}
    return resolve_recipe(make_recipe(given), base, len(rows), sum(row.size for row in rows)).recipe


def run(base: Base, folder: Path, method: str, **values: Any) -> tuple[Path, list[Event]]:
    """The artifact, and what was told."""
    rows, events = rows_for(method, made_pairs()), list[Event]()
    adapter = values.pop("start_adapter", None)
    recipe = resolved(base, rows, method=method, **values)
    return train(recipe, base, rows, folder, events.append, lambda: False, adapter), events


def steps(events: list[Event]) -> list[Any]:
    return [event.data for event in events if event.kind == "step"]


def notes(events: list[Event]) -> list[str]:
    return [event.data["text"] for event in events if event.kind == "note"]


Runs = dict[str, tuple[Path, list[Event]]]


@pytest.fixture(scope="module")
def runs(narrow: Base, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One run of each method with a new adapter."""
    return {
        method: run(narrow, tmp_path_factory.mktemp(method), method, **LONGER.get(method, {})) for method in METHODS
    }


def likelihoods(model: Any, pairs: list[Tokens]) -> list[list[float]]:
    """Nats a token of both answers of each pair, by plain transformers."""
    found = []
    for pair in pairs:
        with torch.no_grad():
            losses = [model(torch.tensor([each.ids]), labels=torch.tensor([each.labels])).loss for each in pair.endings]
        found.append([-float(loss) for loss in losses])
    return found


def right(model: Any, pairs: list[Tokens]) -> float:
    return sum(chosen > rejected for chosen, rejected in likelihoods(model, pairs)) / len(pairs)


# peft reads a property that transformers has renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("method", METHODS)
def test_it_learns_to_rank_pairs_that_it_has_not_seen(runs: Runs, narrow: Base, tmp_path: Path, method: str) -> None:
    artifact, events = runs[method]
    unseen = made_pairs(20, seed=2)
    model = AutoModelForCausalLM.from_pretrained(narrow.folder, dtype=torch.float32)
    before = right(model, unseen)
    tuned = PeftModel.from_pretrained(model, artifact)
    assert before < 0.8 and right(tuned, unseen) == 1
    margins = [step["metrics"]["rewards/margins"] for step in steps(events) if "rewards/margins" in step["metrics"]]
    assert margins[-1] > margins[0] + 0.05
    # Merged for an engine that knows no adapters, it is the same model.
    merge(narrow.folder, artifact, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    expected = [each for pair in likelihoods(tuned, unseen[:3]) for each in pair]
    assert [each for pair in likelihoods(merged, unseen[:3]) for each in pair] == pytest.approx(expected, abs=1e-4)


TOLD = {
    "dpo": {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"},
    "kto": {"rewards/chosen", "rewards/rejected", "rewards/margins", "kl"},
    "orpo": {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "log_odds_chosen"},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_step_tells_rewards_and_all_tokens_of_both_answers(runs: Runs, method: str) -> None:
    artifact, events = runs[method]
    told = steps(events)
    assert {name for step in told for name in step["metrics"]} == TOLD[method]
    rows, epochs = rows_for(method, made_pairs()), LONGER.get(method, {}).get("epochs", 6)
    assert told[-1]["tokens"] == epochs * sum(row.size for row in rows) and told[-1]["tokens_per_second"] > 0
    assert told[-1]["steps"] == epochs * len(rows) / 4
    # What TRL keeps to measure from is no part of the result.
    assert not [path for path in artifact.iterdir() if path.is_dir()]


@pytest.mark.parametrize("method", ["dpo", "kto"])
@pytest.mark.parametrize("start", ["a new adapter", "an adapter that goes on", "every weight"])
def test_the_first_step_measures_from_where_training_starts(
    runs: Runs, narrow: Base, tmp_path: Path, method: str, start: str
) -> None:
    """Nothing has moved yet: DPO's loss is ln 2, KTO's one half, and every reward nothing."""
    values: dict[str, Any] = {"epochs": 1}
    if start == "an adapter that goes on":
        values["start_adapter"] = runs["dpo"][0]
    if start == "every weight":
        values |= {method: {"weights": "full"}, "learning_rate": 1e-3}
    _, events = run(narrow, tmp_path, method, **values)
    first, *_, last = steps(events)
    assert first["loss"] == pytest.approx(math.log(2) if method == "dpo" else 0.5, abs=1e-6)
    assert {first["metrics"].get(name, 0) for name in TOLD[method] - {"rewards/accuracies"}} == {0}
    if start != "a new adapter" or method == "kto":
        assert last["metrics"]["rewards/chosen"] != 0


@pytest.mark.parametrize("start", ["an adapter that goes on", "every weight"])
def test_the_start_stays_where_it_is(runs: Runs, narrow: Base, tmp_path: Path, start: str) -> None:
    adapter = runs["dpo"][0] if start == "an adapter that goes on" else None
    rows = made_pairs()
    recipe = resolved(narrow, rows, method="dpo", epochs=1, dpo={"weights": "lora" if adapter else "full"})
    trainer: Any = build(recipe, narrow, rows, tmp_path, adapter, lambda _: None)
    if adapter:
        named = dict(trainer.model.named_parameters())
        kept = {name: weight for name, weight in named.items() if ".ref." in name}
        moved = {name: named[name.replace(".ref.", ".default.")] for name in kept}
    else:
        kept, moved = dict(trainer.ref_model.named_parameters()), dict(trainer.model.named_parameters())
    before = {name: weight.clone() for name, weight in kept.items()}
    trainer.train()
    assert kept and all(torch.equal(kept[name], weight) for name, weight in before.items())
    assert not any(torch.equal(moved[name], weight) for name, weight in before.items())


# TRL's ORPO says that it is an experiment, each time.
@pytest.mark.filterwarnings("ignore::trl.import_utils.TRLExperimentalWarning")
@pytest.mark.filterwarnings("ignore:.*trl.experimental.*")
def test_orpo_is_trls(narrow: Base, tmp_path: Path) -> None:
    """On a batch of which TRL sees the same tokens: it learns prompts too, so these have but the first one."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    dice, rows = random.Random(5), []
    for _ in range(4):
        chosen, rejected = ((1000, *ids_of(dice, *sizes)) for sizes in ((6, 7), (3, 12)))
        labels = [(-100, *ids[1:]) for ids in (chosen, rejected)]
        rows.append(Tokens(chosen, labels[0], Tokens(rejected, labels[1])))
    recipe = resolved(narrow, rows, method="orpo", orpo={"beta": 0.3, "weights": "full"})
    ours: Any = build(recipe, narrow, rows, tmp_path, None, lambda _: None)
    text = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    given = ORPOConfig(
        str(tmp_path), beta=0.3, use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none"
    )
    theirs = ORPOTrainer(
        LlamaForCausalLM.from_pretrained(narrow.folder), given, None, text, None, ours.processing_class
    )

    batch = ours.collated(rows)
    wanted: dict[str, Any] = {}
    for name, half in (("chosen", slice(0, 4)), ("rejected", slice(4, 8))):
        wanted[f"{name}_input_ids"] = batch["input_ids"][half]
        wanted[f"{name}_attention_mask"] = batch["attention_mask"][half]
        wanted[f"{name}_labels"] = batch["input_ids"][half].masked_fill(batch["completion_mask"][half] == 0, -100)
    loss, metrics = theirs.get_batch_loss_metrics(theirs.model.train(), wanted)
    assert ours.compute_loss(ours.model.train(), batch).item() == pytest.approx(loss.item(), abs=1e-5)
    ours.log(told := {"loss": 0.0})
    for name in TOLD["orpo"]:
        assert told[name] == pytest.approx(metrics[name], abs=1e-5)


def alike(prompts: list[list[int]], seed: int) -> Iterator[tuple[list[int], list[int]]]:
    """Prompts with the prompt that the answer which they are given belongs to."""
    return ((prompt, prompts[place]) for prompt, place in zip(prompts, elsewhere(prompts, seed), strict=True))


@pytest.mark.parametrize("sizes", [[1] * 7, [2] * 5, [1, 4, 2, 1], [3, 3], [5, 1, 1, 1, 1, 1]], ids=str)
def test_kto_measures_by_answers_to_other_prompts(sizes: list[int]) -> None:
    prompts = [[number] for number, size in enumerate(sizes) for _ in range(size)]
    for seed in range(5):
        assert all(prompt != other for prompt, other in alike(prompts, seed))
        given = elsewhere(prompts, seed)
        assert sorted(given) == list(range(len(prompts))) and given == elsewhere(prompts, seed)
    if len(sizes) > 4:
        assert len({str(elsewhere(prompts, seed)) for seed in range(5)}) > 1


def test_kto_shares_answers_where_one_prompt_has_most_of_them() -> None:
    prompts = [[0]] * 6 + [[1], [1], [2]]
    for seed in range(5):
        assert all(prompt != other for prompt, other in alike(prompts, seed))


CUT = [((1, 2, 3), (5,) * 9), ((4,), (6,) * 9)]


def test_kto_cuts_answers_to_what_the_model_can_see() -> None:
    rows = [Tokens((*prompt, *answer), (*[-100] * len(prompt), *answer)) for prompt, answer in CUT]
    assert [answer_elsewhere(rows, [1, 0], place, rows[place], 6) for place in (0, 1)] == [[6] * 3, [5] * 5]


def test_kto_needs_two_prompts(narrow: Base, tmp_path: Path) -> None:
    pair = made_pairs(1)
    rows = rows_for("kto", pair)
    recipe = resolved(narrow, rows, method="kto")
    with pytest.raises(InputError, match="All 2 answers are to one prompt"):
        train(recipe, narrow, rows, tmp_path, lambda _: None, lambda: False)


def test_kto_says_when_one_kind_of_answers_drowns_the_other(narrow: Base, tmp_path: Path) -> None:
    rows = rows_for("kto", made_pairs())
    few = [row for place, row in enumerate(rows) if row.label or place < 4]
    text = "8 answers are wanted and 2 are not; kto.undesirable_weight: 4 would give both the same weight."
    for given, balance in ((few, [text]), (rows, [])):
        events: list[Event] = []
        build(resolved(narrow, given, method="kto"), narrow, given, tmp_path, None, events.append)
        assert [note for note in notes(events) if "wanted" in note] == balance


def test_kto_shuffles_by_the_seed_and_keeps_the_batch_size(narrow: Base, tmp_path: Path) -> None:
    rows = rows_for("kto", made_pairs())

    def order(seed: int) -> list[list[int]]:
        recipe = resolved(narrow, rows, method="kto", seed=seed, batch_size=1)
        trainer = build(recipe, narrow, rows, tmp_path, None, lambda _: None)
        return [ids for batch in trainer.get_train_dataloader() for ids in batch["input_ids"].tolist()]

    assert len(order(0)) == len(rows)
    assert order(0) == order(0) != order(1)
    assert order(0) != [list(row.ids) for row in rows]


@pytest.mark.parametrize("method", METHODS)
def test_dropout_that_is_not_used_is_told(narrow: Base, tmp_path: Path, method: str) -> None:
    rows, events = rows_for(method, made_pairs()), list[Event]()
    recipe = resolved(narrow, rows, method=method, lora={"dropout": 0.5})
    trainer: Any = build(recipe, narrow, rows, tmp_path, None, events.append)
    rates = {module.p for module in trainer.model.modules() if isinstance(module, torch.nn.Dropout)}
    assert any("lora.dropout is off" in note for note in notes(events)) is (rates == {0.0}) is (method != "orpo")


@pytest.mark.parametrize("method", METHODS)
def test_the_first_step_tells_nothing_of_the_rehearsal(
    runs: Runs, narrow: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(loop, "rehearse", lambda *_: 0.0)
    _, events = run(narrow, tmp_path, method, **LONGER.get(method, {}))
    for expected, step in zip(steps(runs[method][1]), steps(events), strict=True):
        assert (step["loss"], step["metrics"]) == (expected["loss"], expected["metrics"])
