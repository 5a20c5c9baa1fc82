"""A report as JSON and back, as rows of a table, and as one honest sentence. Knows no model and no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from pumice.evaluate.compare import FEWEST, negative
from pumice.records import Interval, Report, Sample, Scores


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
        }
    )


def table(report: Report) -> list[Row]:
    """The scores of both models, those that decide first."""
    base, tuned, differences = report.base, report.tuned, report.differences
    rows = []
    if base.exact_match is not None and tuned.exact_match is not None:
        change = differences["exact_match"]
        rows.append(Row("exact match", percent(base.exact_match), percent(tuned.exact_match), points(change)))
    for name, was, now, key in (
        ("token F1", base.token_f1, tuned.token_f1, "token_f1"),
        ("ROUGE-L", base.rouge_l, tuned.rouge_l, "rouge_l"),
        ("loss, nats a token", base.loss, tuned.loss, "loss"),
    ):
        if was is not None and now is not None:
            rows.append(Row(name, f"{was:.2f}", f"{now:.2f}", interval_of(differences[key])))
    rows.append(Row("perplexity", short(base.perplexity), short(tuned.perplexity), ""))
    if base.stopped is not None and tuned.stopped is not None:
        of = f" of {report.count:,}"
        rows.append(Row("stopped by itself", f"{base.stopped:,}{of}", f"{tuned.stopped:,}{of}", ""))
    before, after = (f"{scores.general_loss:.2f}" for scores in (base, tuned))
    rows.append(Row("loss on general text", before, after, f"{report.forgetting:+.2f}"))
    return rows


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
    name, change = deciding(report)
    where = f"on {report.count:,} {seen(report)}"
    if report.verdict == "undecided":
        few = f"fewer than {FEWEST} cannot tell" if report.count < FEWEST else "it may be chance, and more would tell"
        return f"Undecided: {name} changed by {interval_of(change)} {where}; {few}"
    if change.value > 0:
        return f"{report.verdict.capitalize()}: {name} rose by {unsigned(change)} {where}"
    return f"{report.verdict.capitalize()}: {name} fell by {unsigned(negative(change))} {where}"


def deciding(report: Report) -> tuple[str, Interval]:
    """The score that the verdict follows, by the name it is printed under."""
    if "token_f1" in report.differences:
        return "token F1", report.differences["token_f1"]
    return "the loss", report.differences["loss"]


def recall(report: Report) -> str:
    """How much of the trained rows came back, before and after."""
    if report.base.exact_match is None or report.tuned.exact_match is None:
        return f"Loss on trained rows {report.base.loss:.2f} -> {report.tuned.loss:.2f}"
    return f"Recall of trained rows {percent(report.base.exact_match)} -> {percent(report.tuned.exact_match)}"


def questions(report: Report) -> str:
    """What the rows of this report are: text has no questions."""
    return "texts" if report.tuned.token_f1 is None else "questions"


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
