"""A classifier by the classes that it names, beside the simplest of all: always the most frequent class.

Knows not how it was trained.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pumice.bases.classifiers import read_labels
from pumice.data.render import Renderer
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.compare import paired, verdict
from pumice.evaluate.trial import Trial, choose, counter, mean
from pumice.records import Confusion, Event, Example, Report, Sample, Scores, Tell, Tokens

AT_ONCE = 16
"""Texts in one question to the engine."""


async def compare(trial: Trial, pool: Pool, tell: Tell) -> Report:
    """The classes of all texts, as the classifier names them and as the most frequent one would be right.

    Raises `InputError` for rows without a class, for a class that was not learned, when no row fits the window, and
    for weights that give no numbers.
    """
    labels = read_labels(trial.whole)
    examples, rows = fitting(choose(trial.examples, trial.seed, tell), Renderer(trial.base.folder), tell)
    for example in examples:
        check_known(example, labels)
    wanted = [str(example.label) for example in examples]
    found = await classify(trial.whole, [row.ids for row in rows], pool, tell, "classes named by the tuned model")
    said = [labels[max(range(len(labels)), key=each.__getitem__)] for each in found]
    common = Counter(wanted).most_common(1)[0][0]

    before = [float(each == common) for each in wanted]
    after = [float(one == other) for one, other in zip(said, wanted, strict=True)]
    differences = {"accuracy": paired(before, after, trial.seed)}
    guessed = confusion(labels, wanted, [common] * len(wanted))
    named = confusion(labels, wanted, said)
    order = telling(before, after)[: trial.samples]
    return Report(
        set=trial.set,
        count=len(rows),
        base=accuracy(mean(before), macro_f1(guessed)),
        tuned=accuracy(mean(after), macro_f1(named)),
        differences=differences,
        verdict=verdict(trial.set, len(rows), differences),
        forgetting=None,
        samples=tuple(Sample(examples[at].text or "", wanted[at], common, said[at]) for at in order),
        confusion=named,
    )


def fitting(examples: Sequence[Example], renderer: Renderer, tell: Tell) -> tuple[list[Example], list[Tokens]]:
    """The rows with their ids; those that are longer than the window are left out, and said to be."""
    rendered = [(example, renderer.train(example)) for example in examples]
    kept = [(example, row) for example, row in rendered if len(row.ids) <= renderer.window]
    left_out = len(examples) - len(kept)
    if not kept:
        raise InputError(
            f"None of the {len(examples):,} rows to evaluate on has at most {renderer.window:,} tokens.",
            "That is the model's window.",
            "Shorten the rows.",
        )
    if left_out:
        rows = "row is" if left_out == 1 else "rows are"
        text = f"{left_out:,} {rows} longer than {renderer.window:,} tokens and not evaluated."
        tell(Event("note", {"text": text}))
    return [example for example, _ in kept], [row for _, row in kept]


def check_known(example: Example, labels: Sequence[str]) -> None:
    """Raise `InputError` unless the row has a class that the classifier can name."""
    if example.label is None:
        raise InputError(
            f"The row on line {example.line} has no class.",
            "A classifier is compared on texts with their classes.",
            'Give rows like {"text": …, "label": …}.',
        )
    if example.label not in labels:
        raise InputError(
            f'The row on line {example.line} has the class "{example.label}", which was not trained on.',
            f"The model knows {', '.join(labels)}.",
            "Leave the row out, or train again with rows of that class.",
        )


async def classify(
    folder: Path, texts: Sequence[Sequence[int]], pool: Pool, tell: Tell, what: str
) -> list[list[float]]:
    """What the classifier in `folder` gives each text. Raises `InputError` for weights that give no numbers."""
    engine = await pool.get(folder)
    step = counter(tell, what, len(texts))
    found: list[list[float]] = []
    for start in range(0, len(texts), AT_ONCE):
        part = await engine.classify(texts[start : start + AT_ONCE])
        found += part
        for _ in part:
            step()
    if not all(math.isfinite(value) for values in found for value in values):
        raise InputError(
            "The tuned model gives something that is no number: its weights hold no usable numbers.",
            "Training ran away, mostly because the steps were too large.",
            "Train again with a lower `learning_rate`.",
        )
    return found


def confusion(labels: Sequence[str], wanted: Sequence[str], said: Sequence[str]) -> Confusion:
    """How often a text of each class was called what."""
    counts = Counter(zip(wanted, said, strict=True))
    return Confusion(tuple(labels), tuple(tuple(counts[one, other] for other in labels) for one in labels))


def macro_f1(found: Confusion) -> float:
    """F1 of each class that is wanted or named anywhere, averaged over these classes (Yang & Liu 1999)."""
    scores = []
    for at in range(len(found.labels)):
        wanted, named = sum(found.counts[at]), sum(row[at] for row in found.counts)
        if wanted + named:
            scores.append(2 * found.counts[at][at] / (wanted + named))
    return mean(scores)


def accuracy(share: float, f1: float | None = None) -> Scores:
    """The scores of what names classes or ranks answers, and writes nothing."""
    return Scores(None, None, None, None, None, None, None, accuracy=share, macro_f1=f1)


def telling(base: Sequence[float], tuned: Sequence[float]) -> list[int]:
    """All rows by how much they tell: a miss in the first place where there is one, then gains, then the rest."""
    misses = [at for at, right in enumerate(tuned) if not right]
    gains = [at for at, right in enumerate(tuned) if right and not base[at]]
    rest = [at for at, right in enumerate(tuned) if right and base[at]]
    return [*misses[:1], *gains, *rest, *misses[1:]]
