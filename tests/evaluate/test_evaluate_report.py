"""A report survives JSON, and what it says is what it holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.evaluate.report import Row, from_json, percent, sentence, table, to_json
from pumice.records import Interval, Report, Sample, Scores

BETTER = Report(
    set="held-out rows",
    count=48,
    base=Scores(3.25, 25.79, 0.0, 0.05, 0.06, 31, 2.91),
    tuned=Scores(0.5, 1.65, 0.71, 0.76, 0.75, 47, 2.98),
    differences={
        "loss": Interval(-2.75, -3.0, -2.5),
        "exact_match": Interval(0.71, 0.58, 0.83),
        "token_f1": Interval(0.71, 0.62, 0.8),
        "rouge_l": Interval(0.69, 0.6, 0.78),
    },
    verdict="better",
    forgetting=0.07,
    samples=(Sample("Which port?", "8080", "It is 80.", "8080"),),
)
TEXT_ONLY = replace(
    BETTER,
    base=Scores(3.25, 25.79, None, None, None, None, 2.91),
    tuned=Scores(2.5, 12.18, None, None, None, None, 2.98),
    differences={"loss": Interval(-0.75, -0.9, -0.6)},
    samples=(),
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCORES = st.builds(Scores, *[FINITE] * 2, *[st.none() | FINITE] * 3, st.none() | st.integers(0, 500), FINITE)
REPORTS = st.builds(
    Report,
    set=st.sampled_from(["held-out rows", "validation file", "recall of trained rows"]),
    count=st.integers(1, 500),
    base=SCORES,
    tuned=SCORES,
    differences=st.dictionaries(st.sampled_from(["loss", "token_f1"]), st.builds(Interval, *[FINITE] * 3)),
    verdict=st.sampled_from(["better", "worse", "undecided", "recall only"]),
    forgetting=FINITE,
    samples=st.lists(st.builds(Sample, *[st.text(st.characters(exclude_categories=("Cs",)))] * 4)).map(tuple),
)


@given(REPORTS)
def test_json_gives_back_an_equal_report(report: Report) -> None:
    assert from_json(json.loads(json.dumps(to_json(report)))) == report


def test_the_table_shows_each_score_with_its_difference() -> None:
    assert table(BETTER) == [
        Row("exact match", "0 %", "71 %", "+71 [+58, +83]"),
        Row("token F1", "0.05", "0.76", "+0.71 [+0.62, +0.80]"),
        Row("ROUGE-L", "0.06", "0.75", "+0.69 [+0.60, +0.78]"),
        Row("loss, nats a token", "3.25", "0.50", "-2.75 [-3.00, -2.50]"),
        Row("perplexity", "25.79", "1.65", ""),
        Row("stopped by itself", "31 of 48", "47 of 48", ""),
        Row("loss on general text", "2.91", "2.98", "+0.07"),
    ]


def test_text_has_no_answers_in_its_table() -> None:
    assert [row.name for row in table(TEXT_ONLY)] == ["loss, nats a token", "perplexity", "loss on general text"]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            BETTER,
            "Better: token F1 rose by 0.71 [0.62, 0.80] on 48 held-out questions; "
            "the tuned model stopped by itself on 47 of 48.",
        ),
        (
            replace(BETTER, verdict="worse", differences={"token_f1": Interval(-0.2, -0.3, -0.1)}),
            "Worse: token F1 fell by 0.20 [0.10, 0.30] on 48 held-out questions; "
            "the tuned model stopped by itself on 47 of 48.",
        ),
        (
            replace(BETTER, verdict="undecided", differences={"token_f1": Interval(0.01, -0.03, 0.05)}),
            "Undecided: token F1 changed by +0.01 [-0.03, +0.05] on 48 held-out questions; "
            "it may be chance, and more would tell; the tuned model stopped by itself on 47 of 48.",
        ),
        (
            replace(TEXT_ONLY, verdict="undecided", count=1, set="validation file"),
            "Undecided: the loss changed by -0.75 [-0.90, -0.60] on 1 text of the validation file; "
            "fewer than 6 cannot tell.",
        ),
        (TEXT_ONLY, "Better: the loss fell by 0.75 [0.60, 0.90] on 48 held-out texts."),
        (
            replace(BETTER, verdict="recall only", set="recall of trained rows"),
            "Recall of trained rows 0 % -> 71 %, stopped by itself on 47 of 48; "
            "this says nothing about unseen questions: give `validation:` or 200 rows.",
        ),
        (
            replace(TEXT_ONLY, verdict="recall only", set="recall of trained rows"),
            "Loss on trained rows 3.25 -> 2.50; this says nothing about unseen texts: give `validation:` or 200 rows.",
        ),
    ],
)
def test_the_sentence_says_what_was_found_and_no_more(report: Report, expected: str) -> None:
    assert sentence(report) == expected


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0, "0 %"), (0.001, "1 %"), (0.954, "95 %"), (0.999, "99 %"), (1, "100 %")]
)
def test_all_and_none_are_not_rounded_to(fraction: float, expected: str) -> None:
    assert percent(fraction) == expected
