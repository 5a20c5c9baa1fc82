"""Tuned against base by which answers they find likelier: the chosen or the rejected ones, the wanted or the others.

How likely an answer is means per token, stop token included: summed up, the shorter of two would win by its length.
Knows not how it was trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pumice.data.render import Renderer
from pumice.engine.pool import Pool
from pumice.evaluate.answers import Losses, Question, answers, ask, forgotten, score
from pumice.evaluate.compare import paired, verdict
from pumice.evaluate.trial import Trial, choose, mean
from pumice.records import Event, Report, Sample, Scores, Tell


@dataclass(frozen=True)
class Ranking:
    """How likely one side finds the answers. In `pairs` the n-th good one stands against the n-th bad one."""

    good: Losses
    bad: Losses
    pairs: bool

    @property
    def margins(self) -> list[float]:
        """By how many nats a token the good answer of each pair is likelier."""
        return [bad - good for good, bad in zip(self.good.means, self.bad.means, strict=True)]

    @property
    def ranks(self) -> list[float]:
        """For each pair 1 if the good answer is likelier, else 0; for each single answer the share of the other kind
        that it is on the right side of. The mean is the chance that a good answer is likelier than a bad one.
        """
        if self.pairs:
            return [float(margin > 0) for margin in self.margins]
        good, bad = self.good.means, self.bad.means
        if not good or not bad:
            return []
        above = [mean([one < other for other in bad]) for one in good]
        return above + [mean([one < other for one in good]) for other in bad]

    @property
    def read(self) -> Losses:
        """The answers whose loss is told: the good ones, if there are any."""
        return self.good if self.good.sums else self.bad


async def compare(trial: Trial, pool: Pool, tell: Tell) -> Report:
    """Both models read all answers and answer a few of the prompts.

    Raises `InputError` when no row fits the window or the tuned weights give no finite loss.
    """
    renderer, sides, seed = Renderer(trial.base.folder), trial.sides, trial.seed
    questions = ask(choose(trial.examples, seed, tell), renderer, tell)
    rows = [ending for each in questions for ending in each.tokens.endings]
    pairs = len(rows) > len(questions)

    found = [await score(side, rows, renderer.window, pool, tell, "loss") for side in sides]
    general = [await forgotten(side, renderer, pool, tell) for side in sides]
    base, tuned = (parted(each, questions, pairs) for each in found)
    shown = telling(base, tuned, [each for each in questions if wanted(each)], trial.samples)
    said = [(await answers(side, shown, renderer, pool, tell)).texts if shown else [] for side in sides]

    differences = {"loss": paired(base.read.means, tuned.read.means, seed, base.read.counts)}
    if base.ranks:
        differences["accuracy"] = paired(base.ranks, tuned.ranks, seed)
    else:
        text = "All answers that are compared are of one kind: without wanted and unwanted ones there is no accuracy."
        tell(Event("note", {"text": text}))
    if pairs:
        differences["margin"] = paired(base.margins, tuned.margins, seed)
    return Report(
        set=trial.set,
        count=len(questions),
        base=summary(base, general[0]),
        tuned=summary(tuned, general[1]),
        differences=differences,
        # A lower loss on answers of one kind proves nothing: the other kind may have become as likely.
        verdict=verdict(trial.set, len(questions) if base.ranks else 0, differences),
        forgetting=general[1] - general[0],
        samples=tuple(Sample(each.asked, each.reference, *texts) for each, *texts in zip(shown, *said, strict=True)),
    )


def wanted(question: Question) -> bool:
    """Whether its answer is a good one; that of a pair always is."""
    return question.tokens.label is not False


def parted(losses: Losses, questions: Sequence[Question], pairs: bool) -> Ranking:
    """The losses of all endings as those of good and of bad answers."""
    good = [mark for each in questions for mark in (wanted(each), False)[: len(each.tokens.endings)]]

    def those(mark: bool) -> Losses:
        places = [place for place, each in enumerate(good) if each is mark]
        return Losses([losses.sums[place] for place in places], [losses.counts[place] for place in places])

    return Ranking(those(True), those(False), pairs)


def telling(base: Ranking, tuned: Ranking, questions: Sequence[Question], count: int) -> list[Question]:
    """So many questions with good answers: those that gained most, and in the last place the one that gained least."""
    before, after = ([-each for each in side.good.means] if not side.pairs else side.margins for side in (base, tuned))
    gains = [now - was for was, now in zip(before, after, strict=True)]
    order = sorted(range(len(questions)), key=lambda place: -gains[place])
    return [questions[place] for place in (order if len(order) <= count else [*order[: count - 1], order[-1]])]


def summary(side: Ranking, general: float) -> Scores:
    """One side's scores, averaged over its rows."""
    return Scores(
        loss=side.read.mean,
        perplexity=math.exp(side.read.mean),
        exact_match=None,
        token_f1=None,
        rouge_l=None,
        stopped=None,
        general_loss=general,
        accuracy=mean(side.ranks) if side.ranks else None,
        margin=mean(side.margins) if side.pairs else None,
    )
