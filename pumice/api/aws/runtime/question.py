"""What every body of bedrock-runtime comes down to: turns or a text, how to go on, and when to end. Knows no body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.generation import room
from pumice.api.served import Served
from pumice.engine.answer import Ask
from pumice.engine.contract import Constraint, Sampling
from pumice.engine.tools import Choice, Tool, constrain
from pumice.records import Turn

SEEDS = 2**32 - 1
"""Engines take 32-bit seeds, and llama.cpp reads the last one as `draw one`."""


MOST_STOPS = 2_500
"""As Bedrock says of Converse: each is looked for in every piece of an answer."""
_ANY = Sampling(temperature=1.0)
_FREE = Choice()


@dataclass(frozen=True)
class Question:
    """One answer that is wanted."""

    turns: tuple[Turn, ...] = ()
    prompt: str | None = None
    """A text to go on with as it is, instead of turns; special tokens that it spells out count as such."""
    field: str = "messages"
    """What the caller calls the prompt."""
    max_tokens: int | None = None
    """None: as many as the window leaves."""
    sampling: Sampling = _ANY
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    choice: Choice = _FREE
    constraint: Constraint | None = None
    guarded: tuple[str, ...] | None = None
    """The texts that a guardrail looks at; None: all that the user says."""


def ids(question: Question, served: Served) -> list[int]:
    """The prompt as its model reads it. Blocks."""
    if question.prompt is not None:
        return served.renderer.encode(question.prompt)
    return served.renderer.prompt(question.turns, [tool.shown() for tool in question.tools])


def asks(question: Question, served: Served) -> list[Ask]:
    """What an engine is asked. Raises `RequestError` for a prompt that leaves no room. Blocks."""
    if len(question.stop) > MOST_STOPS:
        raise refuse(f"There may be {MOST_STOPS:,} stop sequences, got {len(question.stop):,}.")
    prompt = ids(question, served)
    most = room(served, prompt, question.field)
    sampling = replace(question.sampling, max_tokens=min(question.max_tokens or most, most))
    constraint = constrain(question.tools, question.choice) if question.tools else question.constraint
    return [Ask(prompt, sampling, stop=question.stop, constraint=constraint)]


def sampled(
    temperature: float | None = None, top_p: float | None = None, top_k: int | None = None, seed: int | None = None
) -> Sampling:
    """How tokens are drawn, where a body leaves out what it does not care for."""
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=top_k or 0,
        seed=None if seed is None else seed % SEEDS,
    )


def assistant(text: str, calls: Sequence[tuple[str, str, Mapping[str, Any]]]) -> Turn:
    """A turn of the assistant; each call is its id, the tool's name and the arguments."""
    if not calls:
        return {"role": "assistant", "content": text}
    made = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
        for id_, name, arguments in calls
    ]
    return {"role": "assistant", "content": text, "tool_calls": made}


def refuse(sentence: str) -> AwsError:
    """What is wrong with a body."""
    return AwsError("ValidationException", sentence)


def check_turns(turns: tuple[Turn, ...], field: str) -> tuple[Turn, ...]:
    """The turns, once it is certain that somebody asks something. Raises `AwsError`."""
    spoken = [turn for turn in turns if turn["role"] != "system"]
    if not spoken or spoken[0]["role"] == "assistant" or spoken[-1]["role"] == "assistant":
        raise refuse(f"{field}: a conversation begins and ends with a message of the user; an answer comes after it.")
    return turns
