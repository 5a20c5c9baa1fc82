"""A row that is too long meets one policy, and nothing of it is lost without a word."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumice.data import tokenise
from pumice.data.render import Renderer
from pumice.data.window import Bound, size, trained
from pumice.errors import DataError, InputError
from pumice.records import Base, Example, Tokens, Turn


@pytest.fixture(scope="module")
def renderer(tiny: Base) -> Renderer:
    return Renderer(tiny.folder)


def chat(line: int, question: str, answer: str) -> Example:
    return Example(line, ({"role": "user", "content": question}, {"role": "assistant", "content": answer}))


class Fitted(NamedTuple):
    tokens: tuple[Tokens, ...]
    note: str


def fit(examples: list[Example], renderer: Renderer, *given: Any, **named: Any) -> Fitted:
    found = tokenise.fit(examples, renderer, *given, **named)
    return Fitted(tuple(found.tokens), found.note)


SHORT, LONG = chat(1, "Hi?", "Hello."), chat(2, "Hi?", "so " * 100)
LONG_QUESTION = chat(3, "why " * 200, "so")
TEXT = Example(1, text="one two three " * 100)


def test_rows_that_fit_are_taken_as_rendered(renderer: Renderer) -> None:
    fitted = fit([SHORT, LONG], renderer)
    assert fitted.tokens == (renderer.train(SHORT), renderer.train(LONG))
    assert fitted.note == ""


def test_error_names_every_row(renderer: Renderer) -> None:
    with pytest.raises(DataError) as refused:
        fit([SHORT, LONG, LONG_QUESTION], renderer, 64, "error", "d.jsonl")
    assert [(finding.path, finding.line) for finding in refused.value.findings] == [("d.jsonl", 2), ("d.jsonl", 3)]


def test_drop_tells_what_it_dropped(renderer: Renderer) -> None:
    fitted = fit([SHORT, LONG], renderer, 64, "drop")
    assert fitted.tokens == (renderer.train(SHORT),)
    assert "1 row has more than 64 tokens and was dropped: line 2." in fitted.note
    with pytest.raises(InputError, match="No row"):
        fit([LONG], renderer, 64, "drop")


def test_truncate_cuts_the_end_and_refuses_rows_that_would_train_on_nothing(renderer: Renderer) -> None:
    fitted = fit([LONG], renderer, 64, "truncate")
    whole = renderer.train(LONG)
    assert (fitted.tokens[0].ids, fitted.tokens[0].labels) == (whole.ids[:64], whole.labels[:64])
    with pytest.raises(DataError, match="Nothing of this row is trained"):
        fit([LONG_QUESTION], renderer, 64, "truncate")


@pytest.mark.parametrize("limit", [8, 9, 64, 100])
def test_split_keeps_every_token_of_a_text_in_order(renderer: Renderer, limit: int) -> None:
    fitted = fit([TEXT], renderer, limit, "split")
    whole = renderer.train(TEXT)
    assert tuple(each for row in fitted.tokens for each in row.ids) == whole.ids
    assert tuple(each for row in fitted.tokens for each in row.labels) == whole.labels
    assert all(len(row.ids) <= limit and trained(row) > 0 for row in fitted.tokens)
    assert f"{len(fitted.tokens):,} windows" in fitted.note


def test_split_is_for_text_and_is_its_default(renderer: Renderer) -> None:
    assert fit([TEXT], renderer, 64) == fit([TEXT], renderer, 64, "split")
    with pytest.raises(DataError, match="split is for text"):
        fit([LONG], renderer, 64, "split")
    with pytest.raises(DataError):
        fit([LONG], renderer, 64)
    with pytest.raises(DataError):
        fit([TEXT], renderer, 64, "error")


@pytest.mark.parametrize("max_length", [0, 7, 513])
def test_a_length_that_the_base_cannot_have_is_refused(renderer: Renderer, max_length: int) -> None:
    with pytest.raises(InputError, match="max_length"):
        fit([SHORT], renderer, max_length)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(question=st.text(st.characters(exclude_categories=["Cs"])), answer=st.text(min_size=1), text=st.text(min_size=1))
def test_no_row_has_more_tokens_than_its_bound(renderer: Renderer, question: str, answer: str, text: str) -> None:
    bound = Bound(renderer)
    for example in (
        chat(1, question, answer.encode("utf-8", "ignore").decode()),
        Example(1, text=text.encode("utf-8", "ignore").decode()),
    ):
        most = bound.of(example)
        assert most is not None
        assert len(renderer.train(example).ids) <= most


def pair(line: int, question: str, chosen: str, rejected: str) -> Example:
    asked: Turn = {"role": "user", "content": question}
    better: Turn = {"role": "assistant", "content": chosen}
    worse: Turn = {"role": "assistant", "content": rejected}
    return Example(line, (asked, better), rejected=(asked, worse))


def test_a_pair_is_as_long_as_its_longer_conversation(renderer: Renderer) -> None:
    short, long = pair(1, "Hi?", "Hello.", "No."), pair(2, "Hi?", "Hello.", "so " * 100)
    assert size(renderer.train(long)) == size(renderer.train(pair(2, "Hi?", "so " * 100, "Hello."))) > 100
    assert fit([short, long], renderer, 64, "drop").tokens == (renderer.train(short),)
    with pytest.raises(DataError, match=r"d.jsonl:2:1: The row has 1\d\d tokens"):
        fit([short, long], renderer, 64, path="d.jsonl")
    both = renderer.train(short)
    assert both.rejected is not None
    assert trained(both) == sum(label != -100 for label in (*both.labels, *both.rejected.labels))


def test_a_pair_is_cut_as_one_and_must_still_differ(renderer: Renderer) -> None:
    (cut,) = fit([pair(1, "Hi?", "so " * 100, "No.")], renderer, 64, "truncate").tokens
    whole = renderer.train(pair(1, "Hi?", "so " * 100, "No."))
    assert cut.rejected == whole.rejected
    assert (cut.ids, cut.labels) == (whole.ids[:64], whole.labels[:64])
    for row in (pair(1, "Hi?", "so " * 100 + "yes", "so " * 100 + "no"), pair(1, "why " * 100, "a", "b")):
        with pytest.raises(DataError, match="nothing that tells the answers apart is left within 64 tokens"):
            fit([row], renderer, 64, "truncate")


def test_one_ending_that_is_cut_off_whole_teaches_nothing(renderer: Renderer) -> None:
    row = pair(1, "why " * 20, "a", "b")
    with pytest.raises(DataError, match="Nothing of this row is trained"):
        fit([row], renderer, len(renderer.prompt(row.messages[:1])), "truncate")


def test_a_labelled_text_is_never_split(renderer: Renderer) -> None:
    short, long = Example(1, text="so", label="a"), Example(2, text="so " * 100, label="b")
    assert [each.label for each in fit([short, long], renderer).tokens] == ["a", "b"]
    (cut,) = fit([long], renderer, 64, "truncate").tokens
    assert (len(cut.ids), cut.labels, cut.label) == (64, (), "b")
    for policy in (None, "split"):
        with pytest.raises(DataError, match="choose too_long: drop or truncate"):
            fit([long], renderer, 64, policy)


def test_a_prompt_is_never_cut(renderer: Renderer) -> None:
    short, long = (Example(line, ({"role": "user", "content": "so " * line},)) for line in (1, 100))
    assert fit([short, long], renderer, 64, "drop").tokens == (renderer.train(short),)
    with pytest.raises(DataError, match=r"truncate is not for prompts.*choose too_long: drop\."):
        fit([long], renderer, 64, "truncate")


def test_behind_a_prompt_an_answer_has_room(renderer: Renderer) -> None:
    short, long = (Example(line, ({"role": "user", "content": text},)) for line, text in ((1, "Why?"), (2, "Why so?")))
    limit = len(renderer.train(long).ids)
    fitted = fit([short, long], renderer, limit, "drop")
    assert len(fitted.tokens) == 1
    assert fitted.note == f"1 row has more than {limit - 1} tokens and was dropped: line 2."
    assert len(fit([short, long], renderer, limit + 1, "drop").tokens) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(texts=st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), min_size=1)] * 3))
def test_no_row_of_any_kind_has_more_tokens_than_its_bound(renderer: Renderer, texts: tuple[str, str, str]) -> None:
    bound, row = Bound(renderer), pair(1, *texts)
    for example in (
        row,
        Example(1, row.messages, wanted=True),
        Example(1, text=texts[0], label="a"),
        Example(1, row.messages[:1]),
    ):
        most = bound.of(example)
        assert most is not None
        assert size(renderer.train(example)) <= most
