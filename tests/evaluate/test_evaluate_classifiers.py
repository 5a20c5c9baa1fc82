"""Classifiers are compared with the most frequent class, reward models with their base's likelihoods."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pumice import show
from pumice.config import Home
from pumice.data.render import Renderer
from pumice.engine.contract import Engine
from pumice.engine.hf_classifier import Classifier
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate import classes, ranking, report
from pumice.evaluate.run import evaluate
from pumice.evaluate.trial import Trial
from pumice.plan import gather
from pumice.records import Base, Confusion, Event, Example
from pumice.train.recipe import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


class Here(Pool):
    """The pool with its classifiers in this process, which is what their child process runs: no ten seconds to wait."""

    async def get(self, folder: Path) -> Engine:
        return Near(folder)


class Near:
    """The part of an engine that is asked."""

    def __init__(self, folder: Path) -> None:
        self._classifier = Classifier(folder)

    async def classify(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        return self._classifier.classify([list(ids) for ids in batch])


def trial_of(method: str, base: Base, whole: Path, home: Home, examples: Sequence[Example] | None = None) -> Trial:
    recipe = read_recipe(RECIPES / f"{method}.yaml")
    examples = examples or tuple(gather(recipe, base, home).sets.trained)
    return Trial(base, whole, None, examples, "held-out rows", method=recipe.knobs)


async def test_classes_beside_the_most_frequent_one(tiny: Base, classifiers: dict[str, Path], home: Home) -> None:
    told: list[Event] = []
    whole = classifiers["head"]
    # Billing is the most frequent, by two.
    rows = list(gather(read_recipe(RECIPES / "head.yaml"), tiny, home).sets.trained)[:56]
    rows = [each for at, each in enumerate(rows) if each.label == "billing" or at > 5]
    async with Here(home.cache) as pool:
        found = await evaluate(trial_of("head", tiny, whole, home, rows), pool, told.append)

    renderer, engine = Renderer(tiny.folder), Classifier(whole)
    values = [engine.classify([list(renderer.train(each).ids)])[0] for each in rows]
    said = [("billing", "delivery", "technical")[each.index(max(each))] for each in values]
    right = sum(one == each.label for one, each in zip(said, rows, strict=True))
    assert found.tuned.accuracy == pytest.approx(right / len(rows)) != 1 / 3
    share = sum(each.label == "billing" for each in rows) / len(rows)
    assert found.base.accuracy == pytest.approx(share)
    # One class has F1 2p / (1 + p), the other two have none.
    assert found.base.macro_f1 == pytest.approx(2 * share / (1 + share) / 3)
    assert found.differences["accuracy"].value == pytest.approx(right / len(rows) - share)
    assert found.verdict == "better"
    assert (found.forgetting, found.tuned.loss, found.tuned.general_loss) == (None, None, None)
    assert found.confusion
    assert found.confusion.labels == ("billing", "delivery", "technical")
    assert [sum(row) for row in found.confusion.counts] == [
        sum(each.label == label for each in rows) for label in found.confusion.labels
    ]
    assert sum(found.confusion.counts[at][at] for at in range(3)) == right
    assert all(sample.base == "billing" for sample in found.samples)
    assert report.from_json(report.to_json(found)) == found
    assert report.columns(found) == ("most frequent class", "tuned")
    assert re.fullmatch(
        r"Better: accuracy is above that of always naming the most frequent class by \S+ \[\S+ \S+\] "
        rf"on {len(rows)} held-out texts\.",
        report.sentence(found),
    )
    recalled = replace(found, set="recall of trained rows", verdict="recall only")
    assert f"{report.percent(share)} by always naming the most frequent class" in report.sentence(recalled)
    done = [event.data["done"] for event in told if event.kind == "score"]
    assert done == list(range(len(rows) + 1))


async def test_what_a_classifier_cannot_be_asked(tiny: Base, classifiers: dict[str, Path], home: Home) -> None:
    whole = classifiers["head"]
    for label, message in (("refunds", 'line 7 has the class "refunds"'), (None, "line 7 has no class")):
        async with Here(home.cache) as pool:
            with pytest.raises(InputError, match=message):
                rows = [Example(7, text="Where is it?", label=label)]
                await evaluate(trial_of("head", tiny, whole, home, rows), pool, lambda event: None)
    told: list[Event] = []
    long = Example(1, text="So long. " * 600, label="billing")
    kept, _ = classes.fitting([long, replace(long, text="Short.")], Renderer(tiny.folder), told.append)
    assert ([each.text for each in kept], len(told)) == (["Short."], 1)
    assert "1 row is longer than 512 tokens" in told[0].data["text"]


async def test_ranking_beside_the_likelihoods_of_the_base(tiny: Base, classifiers: dict[str, Path], home: Home) -> None:
    rows = tuple(gather(read_recipe(RECIPES / "reward.yaml"), tiny, home).sets.trained)
    async with Here(home.cache) as pool:
        found = await evaluate(trial_of("reward", tiny, classifiers["reward"], home), pool, lambda event: None)
        with pytest.raises(InputError, match="line 3 has no second answer"):
            await evaluate(
                trial_of("reward", tiny, classifiers["reward"], home, [replace(rows[0], line=3, rejected=())]),
                pool,
                lambda event: None,
            )
    assert found.count == len(rows)
    assert report.columns(found) == ("base, by likelihood", "tuned")
    assert found.tuned.accuracy
    assert found.tuned.accuracy > 0.9
    assert found.base.accuracy is not None
    assert found.differences["accuracy"].value == pytest.approx(found.tuned.accuracy - found.base.accuracy)
    # Where a model ranks the chosen answer first, that is what it is said to prefer.
    wins = [sample for sample in found.samples if sample.tuned == sample.reference]
    assert wins
    assert {sample.reference for sample in wins} <= {each.messages[-1]["content"] for each in rows}
    losses = [sample.base for sample in found.samples if sample.base != sample.reference]
    assert set(losses) <= {each.rejected[-1]["content"] for each in rows}


def test_a_pair_that_is_equal_is_not_told_apart() -> None:
    assert ranking.first([2.0, 1.0, 1.0, 2.0, 1.0, 1.0]) == [1.0, 0.0, 0.0]


def test_macro_f1_counts_classes_that_are_wanted_or_named() -> None:
    # Precision and recall of a: 2/3 and 1, of b: 1 and 1/2; of c nothing is there.
    found = Confusion(("a", "b", "c"), ((2, 0, 0), (1, 1, 0), (0, 0, 0)))
    assert classes.macro_f1(found) == pytest.approx((0.8 + 2 / 3) / 2)
    assert classes.confusion(("a", "b", "c"), "aabb", "aaab") == found


def shown(confusion: Confusion) -> list[str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(show, "console", Console(file=out, width=80))
        show.confusion(confusion)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_confusion_of_a_few_classes_is_a_table_and_of_many_a_list() -> None:
    assert shown(Confusion(("cat", "dog"), ((12, 0), (3, 1000)))) == [
        "",
        "Texts of each class, and what they were named:",
        "class  cat    dog",
        "cat     12      .",
        "dog      3  1,000",
    ]
    labels = tuple(f"class {at}" for at in range(12))
    counts = [[0] * 12 for _ in labels]
    counts[3][4], counts[11][0] = 2, 7
    assert shown(Confusion(labels, tuple(tuple(row) for row in counts)))[1:] == [
        "What was most often mistaken:",
        "class     was named  texts",
        "class 11  class 0        7",
        "class 3   class 4        2",
    ]
