"""Ids to text: streamed pieces that never show half a character or half a stop string, and whole answers.

This module knows engines by their contract alone, and no chat template.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal

from pumice.data.render import Renderer
from pumice.engine import schemas
from pumice.engine.contract import Constraint, Delta, Engine, Generate, Sampling, TokenLogprob
from pumice.errors import InputError

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted to a prompt of token ids. `adapter` None means the bare base."""

    ids: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None


@dataclass(frozen=True)
class Piece:
    """The next text of an answer with the tokens that it came from. `finish` is set on the last piece only."""

    text: str
    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    stop: str | None = None
    """The stop string that ended the answer, None where the model ended it."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. A stop token or stop string ends it and is not part of it."""

    text: str
    ids: tuple[int, ...]
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...]


async def answer(engine: Engine, renderer: Renderer, ask: Ask) -> Answer:
    """The whole of one answer. Raises as `stream` does."""
    async with aclosing(stream(engine, renderer, ask)) as arriving:
        pieces = [piece async for piece in arriving]
    answered = tuple(id_ for piece in pieces for id_ in piece.ids)
    return Answer(
        "".join(piece.text for piece in pieces),
        answered,
        pieces[-1].finish or "length",
        len(ask.ids),
        len(answered),
        tuple(logprob for piece in pieces for logprob in piece.logprobs),
    )


async def stream(engine: Engine, renderer: Renderer, ask: Ask) -> AsyncGenerator[Piece, None]:
    """The answer as it comes; leaving early cancels it.

    Raises InputError for what the engine cannot do as asked, and, at the end, when it could not hold the answer to
    its schema; UnavailableError when its process is gone.
    """
    cutter = _Cutter([text for text in ask.stop if text])
    decoder = renderer.stream()
    written: list[str] = []
    request = Generate(ask.ids, ask.sampling, ask.adapter, ask.constraint)
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            kept, ended = _before_stop(delta, renderer.stop_ids)
            finish: Finish | None = "stop" if ended else delta.finish
            text = decoder.push(kept.ids) + (decoder.flush() if finish else "")
            for piece in cutter.push(Piece(text, kept.ids, kept.logprobs, finish)):
                written.append(piece.text)
                yield piece
                finish = finish or piece.finish
            if finish:
                break
    if ask.constraint and ask.constraint.kind == "json_schema" and finish == "stop" and not cutter.cut:
        _check_json("".join(written), ask.constraint.text)


def _before_stop(delta: Delta, stop_ids: Sequence[int]) -> tuple[Delta, bool]:
    """What comes before the first stop token, and whether there was one: templates know more of them than engines."""
    at = next((at for at, id_ in enumerate(delta.ids) if id_ in stop_ids), None)
    if at is None:
        return delta, False
    return replace(delta, ids=delta.ids[:at], logprobs=delta.logprobs[:at]), True


def _check_json(text: str, schema: str) -> None:
    try:
        reason = schemas.problem(json.loads(text), json.loads(schema))
    except ValueError:
        reason = "The engine stopped in the middle of it."
    if reason:
        raise InputError(
            "The answer does not follow the JSON schema.",
            reason,
            "Ask again; if it stays so, write the schema with type, properties, required, items and enum alone.",
        )


class _Cutter:
    """Holds pieces back while their text may be the beginning of a stop string, and cuts at the first one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.cut = False
        """Whether a stop string was met."""
        self._stops = stops
        self._held: list[Piece] = []

    def push(self, piece: Piece) -> Iterator[Piece]:
        """The pieces that are certain now; the last of an answer has `finish`."""
        self._held.append(piece)
        text = "".join(held.text for held in self._held)
        # What is complete first counts, so that the borders of pieces make no difference.
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.cut = True
            _, at, stop = min(found)
            yield from self._until(at, stop)
            return
        safe = len(text) if piece.finish else len(text) - self._open_end(text)
        while self._held and len(self._held[0].text) <= safe:
            safe -= len(self._held[0].text)
            yield self._held.pop(0)

    def _open_end(self, text: str) -> int:
        """How many characters at the end may begin a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        ends = range(min(longest, len(text)), 0, -1)
        return next((size for size in ends if any(stop.startswith(text[-size:]) for stop in self._stops)), 0)

    def _until(self, end: int, stop: str) -> Iterator[Piece]:
        start = 0
        for held in self._held:
            if start < end:
                yield replace(held, text=held.text[: end - start], finish=None)
            start += len(held.text)
        yield Piece("", finish="stop", stop=stop)
