"""The scores, against cases worked out by hand and against what must hold for any text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.evaluate.score import exact_match, longest_common_subsequence, rouge_l, token_f1

TEXT = st.text(st.one_of(st.sampled_from("ab the,.!-日本é "), st.characters(exclude_categories=("Cs",))), max_size=60)
WORDS = st.lists(st.sampled_from("abcd"), max_size=40)


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The port is 8080.", "port is  8080", 1.0),
        ("8080", "8,080", 1.0),
        ("8081", "8080", 0.0),
        ("It is 8080", "8080", 0.0),  # containing the reference is not enough
        ("STRASSE", "Straße", 1.0),
        ("caf\u0065\u0301", "café", 1.0),
        ("«Так»", "так", 1.0),
        ("।नमस्ते।", "नमस्ते", 1.0),
        ("+", "-", 0.0),  # nothing is left of either, yet they differ
        ("The", "A", 0.0),
        ("", "", 1.0),
        ("", "the", 0.0),
    ],
)
def test_exact_match_is_equality_after_normalisation(answer: str, reference: str, expected: float) -> None:
    assert exact_match(answer, reference) == expected


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("the cat sat on the mat", "a cat on a mat", 6 / 7),  # cat sat on mat | cat on mat
        ("red red red", "red", 1 / 2),  # a repeated word counts once
        ("blue", "red", 0.0),
        ("", "red", 0.0),
        ("東京都", "東京", 4 / 5),  # characters, as there are no spaces
        ("नमस्ते दुनिया", "नमस्ते", 2 / 3),  # vowel signs do not part words
    ],
)
def test_token_f1_by_hand(answer: str, reference: str, expected: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        # Lin 2004, section 3.2: the same words, but only one candidate keeps their order.
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("a b c d e", "a c e", 6 / 8),
        ("don't stop", "do not stop", 2 / 6),  # don t stop | do not stop
        ("", "stop", 0.0),
    ],
)
def test_rouge_l_by_hand(answer: str, reference: str, expected: float) -> None:
    assert rouge_l(answer, reference) == pytest.approx(expected)


@pytest.mark.parametrize("score", [exact_match, token_f1, rouge_l])
class TestEveryScore:
    @given(first=TEXT, second=TEXT)
    def test_is_symmetric_and_within_0_and_1(self, score, first: str, second: str) -> None:  # noqa: ANN001
        assert 0 <= score(first, second) == score(second, first) <= 1

    @given(text=TEXT)
    def test_is_1_for_the_same_text_however_composed(self, score, text: str) -> None:  # noqa: ANN001
        assert score(text, text) == 1
        assert score(unicodedata.normalize("NFD", text), text) == 1


@given(answer=TEXT, reference=TEXT)
def test_an_exact_match_has_full_f1(answer: str, reference: str) -> None:
    assert token_f1(answer, reference) == 1 or not exact_match(answer, reference)


@given(first=WORDS, second=WORDS)
def test_the_fast_subsequence_equals_the_textbook_one(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    assert longest_common_subsequence(first, second) == table[-1][-1]
