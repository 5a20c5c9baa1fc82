"""A report as JSON and back, as rows of a table, and as one honest sentence. Knows no model and no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from pumice.evaluate.compare import FEWEST, deciding, negative
from pumice.records import Confusion, Interval, Report, Sample, Scores


class Row(NamedTuple):
    """One line of the comparison, ready to print."""

    name: str
    base: str
    tuned: str
    difference: str
    """Tuned minus base with its 95 % interval where there is one."""


def to_json(report: Report) -> dict[str, Any]:
    """Plain dictionaries, lists, strings and numbers; `from_json` gives back an equal report."""
    return {**asdict(report), "samples": [asdict(sample) for sample in report.samples]}


def from_json(data: Mapping[str, Any]) -> Report:
    """The report that `to_json` wrote. Raises `KeyError` or `TypeError` for anything else."""
    return Report(
        **{
            **data,
            "base": Scores(**data["base"]),
            "tuned": Scores(**data["tuned"]),
            "differences": {name: Interval(**interval) for name, interval in data["differences"].items()},
            "samples": tuple(Sample(**sample) for sample in data["samples"]),
            "confusion": confusion(data.get("confusion")),
        }
    )


def confusion(data: Mapping[str, Any] | None) -> Confusion | None:
    """The matrix that `to_json` wrote, if there was one."""
    return Confusion(tuple(data["labels"]), tuple(tuple(row) for row in data["counts"])) if data else None


def table(report: Report) -> list[Row]:
    """The scores of both models, those that decide first."""
    base, tuned, differences = report.base, report.tuned, report.differences
    rows = []
    for name, was, now, key in (
        ("accuracy", base.accuracy, tuned.accuracy, "accuracy"),
        ("exact match", base.exact_match, tuned.exact_match, "exact_match"),
    ):
        if was is not None and now is not None:
            rows.append(Row(name, percent(was), percent(now), points(differences[key])))
    for name, was, now, key in (
        ("macro-F1", base.macro_f1, tuned.macro_f1, ""),
        ("margin, nats a token", base.margin, tuned.margin, "margin"),
        ("reward", base.reward, tuned.reward, "reward"),
        ("token F1", base.token_f1, tuned.token_f1, "token_f1"),
        ("ROUGE-L", base.rouge_l, tuned.rouge_l, "rouge_l"),
        ("loss, nats a token", base.loss, tuned.loss, "loss"),
    ):
        if was is not None and now is not None:
            change = interval_of(differences[key]) if key else f"{now - was:+.2f}"
            rows.append(Row(name, f"{was:.2f}", f"{now:.2f}", change))
    if base.perplexity is not None and tuned.perplexity is not None:
        rows.append(Row("perplexity", short(base.perplexity), short(tuned.perplexity), ""))
    if base.stopped is not None and tuned.stopped is not None:
        of = f" of {report.count:,}"
        rows.append(Row("stopped by itself", f"{base.stopped:,}{of}", f"{tuned.stopped:,}{of}", ""))
    if tuned.kl is not None:
        rows.append(Row("KL from the base, nats a token", "", f"{tuned.kl:.3f}", ""))
    if base.general_loss is not None and tuned.general_loss is not None:
        before, after = (f"{loss:.2f}" for loss in (base.general_loss, tuned.general_loss))
        rows.append(Row("loss on general text", before, after, f"{report.forgetting:+.2f}"))
    return rows


def answered_by(report: Report) -> str:
    """What the answers came from, as a sentence; "" where there were none."""
    found = dict.fromkeys(report.engines.values())
    if len(found) < 2:
        return f"Answers from {next(iter(found))}." if found else ""
    return f"Answers of the base from {report.engines['base']}, of the tuned model from {report.engines['tuned']}."


def columns(report: Report) -> tuple[str, str]:
    """What stands on the left and on the right of the comparison."""
    if report.confusion:
        return "most frequent class", "tuned"
    ranked = "accuracy" in report.differences and report.tuned.loss is None
    return "base, by likelihood" if ranked else "base", "tuned"


def mistakes(found: Confusion) -> list[tuple[str, str, int]]:
    """Which class was taken for which other, and how often; the most frequent first."""
    names = list(enumerate(found.labels))
    pairs = [(one, other, found.counts[i][j]) for i, one in names for j, other in names if i != j]
    return sorted((pair for pair in pairs if pair[2]), key=lambda pair: -pair[2])


def sentence(report: Report) -> str:
    """The verdict with its evidence, and what it does not prove."""
    stopped = report.tuned.stopped
    by_itself = "" if stopped is None else f"stopped by itself on {stopped:,} of {report.count:,}"
    if report.verdict == "recall only":
        proof = ", ".join(filter(None, (recall(report), by_itself)))
        return f"{proof}; this says nothing about unseen {questions(report)}: give `validation:` or 200 rows."
    proof = "; the tuned model ".join(filter(None, (finding(report), by_itself)))
    return f"{proof}."


def finding(report: Report) -> str:
    """The verdict and the change that it follows."""
    key = deciding(report.differences)
    name, change = NAMES[key], report.differences[key]
    where = f"on {report.count:,} {seen(report)}"
    changed, rose, fell = ABOVE if report.confusion else ("changed by", "rose by", "fell by")
    if report.verdict == "undecided":
        few = f"fewer than {FEWEST} cannot tell" if report.count < FEWEST else "it may be chance, and more would tell"
        return f"Undecided: {name} {changed} {interval_of(change)} {where}; {few}"
    if change.value > 0:
        return f"{report.verdict.capitalize()}: {name} {rose} {unsigned(change)} {where}"
    return f"{report.verdict.capitalize()}: {name} {fell} {unsigned(negative(change))} {where}"


ALWAYS = "that of always naming the most frequent class by"
ABOVE = (f"differs from {ALWAYS}", f"is above {ALWAYS}", f"is below {ALWAYS}")
"""What the accuracy of a classifier is compared with, whose base names no classes."""


NAMES = {"accuracy": "accuracy", "reward": "the reward", "token_f1": "token F1", "loss": "the loss"}
"""Deciding scores as a sentence says them."""


def recall(report: Report) -> str:
    """How much of the trained rows came back, before and after."""
    base, tuned = report.base, report.tuned
    if base.accuracy is not None and tuned.accuracy is not None:
        if report.confusion:
            known = f"{percent(base.accuracy)} by always naming the most frequent class"
            return f"Accuracy on trained rows {percent(tuned.accuracy)}, {known}"
        return f"Accuracy on trained rows {percent(base.accuracy)} -> {percent(tuned.accuracy)}"
    if base.reward is not None and tuned.reward is not None:
        return f"Reward on trained prompts {base.reward:.2f} -> {tuned.reward:.2f}"
    if base.exact_match is None or tuned.exact_match is None:
        return f"Loss on trained rows {base.loss:.2f} -> {tuned.loss:.2f}"
    return f"Recall of trained rows {percent(base.exact_match)} -> {percent(tuned.exact_match)}"


def questions(report: Report) -> str:
    """What the rows of this report are."""
    # Single judged answers have a loss and no margin; texts and pairs that a head has judged have no loss.
    ranked = "answers" if report.tuned.loss is not None and report.tuned.margin is None else "pairs"
    nouns = {"accuracy": "texts" if report.confusion else ranked, "reward": "prompts", "token_f1": "questions"}
    return nouns.get(deciding(report.differences), "texts")


def seen(report: Report) -> str:
    """The set in words that follow its count."""
    noun = questions(report)[:-1] if report.count == 1 else questions(report)
    return f"held-out {noun}" if report.set == "held-out rows" else f"{noun} of the validation file"


def percent(fraction: float) -> str:
    """`0.954` as `95 %`; 100 % only when it is all of them, 0 % only when it is none."""
    if 0 < fraction < 1:
        return f"{min(99, max(1, round(fraction * 100)))} %"
    return f"{fraction * 100:.0f} %"


def points(interval: Interval) -> str:
    """A change of fractions in points of a hundred."""
    value, low, high = (100 * part for part in (interval.value, interval.low, interval.high))
    return f"{value:+.0f} [{low:+.0f}, {high:+.0f}]"


def interval_of(interval: Interval) -> str:
    """A change with its sign and its interval."""
    return f"{interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def unsigned(interval: Interval) -> str:
    """A change whose direction is in the words around it."""
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def short(number: float) -> str:
    """A positive number in at most six characters up to a million, then as a power of ten."""
    if number >= 1_000_000:
        return f"{number:.1e}"
    return f"{number:.2f}" if number < 100 else f"{number:,.0f}"
