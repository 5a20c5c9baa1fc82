"""A row that is too long meets one policy, and nothing of it is lost without a word."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumice.data.render import Renderer
from pumice.data.window import Bound, fit, trained
from pumice.errors import DataError, InputError
from pumice.records import Base, Example


@pytest.fixture(scope="module")
def renderer(tiny: Base) -> Renderer:
    return Renderer(tiny.folder)


def chat(line: int, question: str, answer: str) -> Example:
    return Example(line, ({"role": "user", "content": question}, {"role": "assistant", "content": answer}))


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
