"""Shots: the nearest first to be kept, the same ones for ever, none that is asked afterwards."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from pumice.prompting.shots import Shots, exchange
from pumice.prompting.templates import Shot
from pumice.records import Example, Turn

PAIRS = [
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Peru?", "Lima"),
    ("Who wrote Faust?", "Goethe"),
    ("Which port does the server listen on?", "8080"),
    ("What is the river of Paris?", "The Seine"),
]


def row(question: str, answer: str) -> Example:
    return Example(1, (Turn(role="user", content=question), Turn(role="assistant", content=answer)))


ROWS = [row(*pair) for pair in PAIRS]
LONG = [row(" ".join(f"w{n * k % 97}" for k in range(40)), "a") for n in range(97)]


def test_the_nearest_stands_next_to_the_question_and_rare_words_weigh_more() -> None:
    shots = Shots(ROWS, (), seed=0)
    assert shots.near("What is the port?", 1) == (Shot(*PAIRS[3]),)
    near = shots.near("And the capital of France, what is it?", 3)
    assert near[-1] == Shot(*PAIRS[0])
    assert near[-2] == Shot(*PAIRS[1])
    assert shots.near("And the capital of France, what is it?", 2) == near[1:]


def test_more_than_there_are_and_none() -> None:
    shots = Shots(ROWS, (), seed=0)
    assert len(shots.near("x", 99)) == len(PAIRS)
    assert shots.near("x", 0) == ()
    assert Shots([], (), seed=0).near("x", 3) == ()


def test_what_is_asked_is_never_shown_and_nothing_is_shown_twice() -> None:
    shots = Shots([*ROWS, *ROWS], {PAIRS[0][0], PAIRS[2][0]}, seed=0)
    assert shots.all == tuple(Shot(*PAIRS[at]) for at in (1, 3, 4))


def test_the_seed_decides_between_equals_in_every_process() -> None:
    questions = [row(f"q{at}", "a") for at in range(50)]
    assert Shots(questions, (), seed=0).near("?", 5) == Shots(questions, (), seed=0).near("?", 5)
    assert Shots(questions, (), seed=0).near("?", 5) != Shots(questions, (), seed=1).near("?", 5)
    # Sums of many words: their last bits would differ with the order of a set, which differs between processes.
    code = (
        "from test_prompting_shots import LONG; from pumice.prompting.shots import Shots;"
        "print(Shots(LONG, (), 0)._length.tolist(), Shots(LONG, (), 0).near(LONG[3].messages[0]['content'], 9))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


@given(st.lists(st.tuples(st.text(), st.text(min_size=1))), st.text(), st.integers(0, 8))
def test_any_texts(pairs: list[tuple[str, str]], question: str, count: int) -> None:
    shots = Shots([row(*pair) for pair in pairs], {question}, seed=0)
    near = shots.near(question, count)
    assert len(near) == min(count, len({pair for pair in pairs if pair[0] != question}))
    assert len(set(near)) == len(near)


def test_the_exchange_of_a_chat_is_its_last() -> None:
    first, second = ROWS[0].messages, ROWS[1].messages
    assert exchange(Example(1, (Turn(role="system", content="s"), *first, *second))) == Shot(*PAIRS[1])
    tool = Turn(role="tool", content="{}")
    assert exchange(Example(1, (first[0], second[1], tool, second[1]))) is None
    assert exchange(Example(1, text="a text")) is None
    assert exchange(Example(1, (first[0],))) is None
