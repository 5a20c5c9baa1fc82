"""Many runs of one recipe with other values, the best by its held-out score. Does not know how a run is made or shown.

Every trial is a job of its own and registers a version of its own, so that nothing is lost when the sweep ends early.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pumice.config import Home
from pumice.errors import InputError
from pumice.evaluate.compare import deciding
from pumice.plan import read
from pumice.records import Job, JobState, Model
from pumice.train.recipe import Recipe, change


@dataclass(frozen=True)
class Values:
    """What one key may be: words to choose from, or any number of a range."""

    key: str
    words: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether the range is one of whole numbers."""
        return self.low.is_integer() and self.high.is_integer() and self.low >= 1

    def draw(self, dice: random.Random) -> str:
        """One value; a range over more than a factor of ten is drawn evenly in its logarithm."""
        if self.words:
            return dice.choice(self.words)
        if self.low > 0 and self.high / self.low > 10:
            value = math.exp(dice.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = dice.uniform(self.low, self.high)
        return str(round(value)) if self.whole else f"{value:.3g}"


@dataclass(frozen=True)
class Result:
    """One trial: what was set, the job, and how its model did on rows that were held out."""

    settings: Mapping[str, str]
    job: Job
    model: str | None
    name: str
    """The score by which trials are compared; "" where there is none."""
    score: float
    """Larger is better; -infinity for a trial that failed."""

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it: the score under its name, or why the trial failed."""
        outcome = {self.name: self.score} if self.model else {"error": self.job.error}
        return {"settings": dict(self.settings), "job": self.job.id, "model": self.model, **outcome}


def parse(texts: Sequence[str]) -> tuple[Values, ...]:
    """`lora.r=8,16` and `learning_rate=1e-4..1e-2`. Raises `InputError` for anything else."""
    found: dict[str, Values] = {}
    for text in texts:
        key, _, given = text.partition("=")
        if not given.strip():
            raise InputError(f"--over {text}: write KEY=VALUE,VALUE or KEY=LOW..HIGH.", fix="As in --over lora.r=8,16")
        if key in found:
            raise InputError(
                f"--over {text}: {key} is given twice.", fix=f"Write all its values in one: --over {key}=A,B,C"
            )
        low, _, high = given.partition("..")
        try:
            ends = float(low), float(high)
        except ValueError:
            found[key] = Values(key, _words(text, given))
            continue
        if not ends[0] < ends[1]:
            raise InputError(f"--over {text}: {low} is not below {high}.", fix="Write the smaller number first.")
        found[key] = Values(key, (), *ends)
    if not found:
        raise InputError("Nothing varies.", "A sweep tries values of recipe keys.", "As in --over lora.r=8,16")
    return tuple(found.values())


def _words(text: str, given: str) -> tuple[str, ...]:
    """The items of a YAML list as they are written, for `change` to read: `[a,b],c` are `[a,b]` and `c`."""
    try:
        items = YAML(typ="safe", pure=True).compose(f"[{given}]").value
    except YAMLError:
        raise InputError(
            f"--over {text}: {given} cannot be read as values.",
            "Between two commas stands a number, a word or a list.",
            "Put a word with commas or brackets in it in quotes.",
        ) from None
    return tuple(given[item.start_mark.index - 1 : item.end_mark.index - 1] for item in items)


def plan(space: Sequence[Values], trials: int | None, seed: int) -> list[dict[str, str]]:
    """The settings of each trial: the whole grid, or so many drawn without repeating one.

    Fewer come where there are no more different ones.
    """
    ranges = [values.key for values in space if not values.words]
    if ranges and trials is None:
        raise InputError(
            f"{', '.join(ranges)} has endlessly many values.", "A range is drawn from.", "Say how often: --trials 8"
        )
    dice = random.Random(seed)
    if not ranges:
        grid = [
            dict(zip((values.key for values in space), words, strict=True))
            for words in itertools.product(*(values.words for values in space))
        ]
        return grid if trials is None or trials >= len(grid) else dice.sample(grid, trials)
    # Ranges of few whole numbers repeat themselves: a hundred draws for each trial find all that there are.
    wanted, different = trials or 0, {}
    for _ in range(100 * wanted):
        each = {values.key: values.draw(dice) for values in space}
        different[tuple(each.values())] = each
        if len(different) == wanted:
            break
    return list(different.values())


def sweep(
    recipe: Recipe,
    settings: Sequence[Mapping[str, str]],
    minutes: float | None,
    run: Callable[[Recipe], Job],
    find: Callable[[str], Model],
    home: Home,
) -> Iterator[Result]:
    """Each trial's result as it ends; no trial is begun when `minutes` are over. `run` makes and follows one job.

    Every recipe is made, and its data read, before the first is run, so that a mistake costs nothing. A trial that
    fails is a result; one that was stopped ends the sweep. Raises `InputError` where no rows are held out: nothing
    could be compared; and for `pretrain`, which asks before each run.
    """
    recipes = [change(recipe, each) for each in settings]
    if any(each.method == "pretrain" for each in recipes):
        raise InputError(
            "method: pretrain cannot be swept.",
            "It trains at 1 % of the tokens first, and asks before it goes on; a sweep asks nothing.",
            "Train one new model at a time: pumice run",
        )
    check_held_out(recipes, home)
    began = time.monotonic()
    for each, varied in zip(settings, recipes, strict=True):
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            return
        job = run(varied)
        if job.state is JobState.STOPPED:
            return
        yield judged(each, job, find)


def check_held_out(recipes: Sequence[Recipe], home: Home) -> None:
    """Raise `InputError` where a trial would have no rows that it has not seen, and `DataError` for bad ones."""
    for each in {(recipe.data, recipe.validation): recipe for recipe in recipes}.values():
        dataset, validation = read(each, home)
        if validation is None and not dataset.held_out:
            raise InputError(
                f"No rows of {each.data} are held out: the best trial would be the one that learned them by heart.",
                "Trials are compared by what they have not seen.",
                "Give a validation file, or at least 200 rows.",
            )


def judged(settings: Mapping[str, str], job: Job, find: Callable[[str], Model]) -> Result:
    """A job's result by the score that its report's verdict follows."""
    if job.state is not JobState.SUCCEEDED or job.model is None:
        return Result(settings, job, None, "", -math.inf)
    report = find(job.model).report
    assert report is not None, "a run leaves a report"
    name = deciding(report.differences)
    score = {
        "accuracy": report.tuned.accuracy,
        "reward": report.tuned.reward,
        "token_f1": report.tuned.token_f1,
        "loss": None if report.tuned.loss is None else -report.tuned.loss,
    }[name]
    assert score is not None, "a score that was compared is there"
    return Result(settings, job, job.model, name, score)


def best(results: Sequence[Result]) -> Result | None:
    """The trial with the largest score, the earlier of two equal ones; None where all failed."""
    done = [result for result in results if result.model]
    return max(done, key=lambda result: result.score) if done else None
