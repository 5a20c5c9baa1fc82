"""The same rows are held out for ever, and nothing that is held out is trained on under another answer."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pumice.data.split import Openings
from pumice.records import Example


def split(examples: Sequence[Example], seed: int = 0) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Trained and held-out rows."""
    openings = Openings(seed)
    for example in examples:
        openings.add(example)
    held = openings.held_out()
    trained = (example for place, example in enumerate(examples) if place not in held)
    return tuple(trained), tuple(examples[place] for place in held)


def rows(count: int) -> list[Example]:
    return [row(n, f"question {n}", f"answer {n}") for n in range(count)]


def row(line: int, question: str, answer: str) -> Example:
    return Example(line, ({"role": "user", "content": question}, {"role": "assistant", "content": answer}))


def questions(examples: tuple[Example, ...]) -> set[str]:
    return {example.messages[0]["content"] for example in examples}


def test_how_many_are_held_out() -> None:
    sizes = {count: len(split(rows(count))[1]) for count in (0, 199, 200, 399, 1000, 10_000, 20_000)}
    assert sizes == {0: 0, 199: 0, 200: 20, 399: 20, 1000: 50, 10_000: 500, 20_000: 500}


def test_every_row_is_in_one_part_and_in_file_order() -> None:
    examples = rows(1000)
    trained, held = split(examples)
    assert sorted([*trained, *held], key=lambda each: each.line) == examples
    assert [each.line for each in trained] == sorted(each.line for each in trained)
    assert [each.line for each in held] == sorted(each.line for each in held)


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(shuffler: random.Random) -> None:
    examples = rows(250)
    before = questions(split(examples)[1])
    shuffler.shuffle(examples)
    assert questions(split(examples)[1]) == before


@given(st.integers(0, 1000), st.integers(1, 20))
def test_added_rows_hardly_change_what_is_held_out(start: int, added: int) -> None:
    before = questions(split(rows(600))[1])
    more = [row(n, f"new question {n}", "a") for n in range(start, start + added)]
    after = questions(split([*more, *rows(600)])[1])
    assert len(before - after) <= added
    assert len(before & after) >= len(before) - added


def test_what_is_held_out_today_is_held_out_tomorrow() -> None:
    _, held = split(rows(200))
    assert [each.line for each in held] == HELD_OUT_OF_200
    assert [each.line for each in split(rows(200), seed=1)[1]] != HELD_OUT_OF_200


def test_rows_with_one_opening_stay_together() -> None:
    examples = [row(n, f"question {n // 3}", f"answer {n}") for n in range(600)]
    longer = [
        Example(600 + n, (*row(n, f"question {n}", "first").messages, *row(n, "and then?", f"{n}").messages))
        for n in range(200)
    ]
    trained, held = split([*examples, *longer])
    assert held
    assert not questions(trained) & questions(held)


def test_a_file_of_one_question_holds_nothing_out() -> None:
    examples = [row(n, "the same", f"{n}") for n in range(300)]
    assert split(examples) == (tuple(examples), ())


def test_texts_are_split_by_what_they_say() -> None:
    examples = [Example(n, text=f"text {n % 250}") for n in range(500)]
    trained, held = split(examples)
    assert len(held) == 24
    assert not {each.text for each in trained} & {each.text for each in held}


# Written down once; another list would move held-out rows of every model that is there into its training.
HELD_OUT_OF_200 = [29, 41, 42, 49, 57, 93, 97, 102, 124, 127, 132, 142, 148, 149, 150, 152, 163, 170, 188, 194]


def test_no_class_is_held_out_whole() -> None:
    examples = [Example(n, text=f"text {n}", label=f"class {n // 2}") for n in range(400)]
    trained, held = split(examples)
    assert len(held) == 20
    assert {each.label for each in held} <= {each.label for each in trained}
    single = [Example(n, text=f"text {n}", label=f"class {n}") for n in range(400)]
    assert split(single) == (tuple(single), ())
