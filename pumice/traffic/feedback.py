"""What people said of answers: thumbs and corrections of logged requests, and votes between two answers.

Knows no models. What was said becomes rows to train on in `rows_of`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pumice.errors import InputError
from pumice.records import Document, Request
from pumice.store.documents import Documents

VOTE, OPINION = "vote", "opinion"
"""Kinds of documents; an opinion is named by its request."""
Choice = Literal["left", "right", "both", "neither"]
Thumb = Literal["up", "down"]
Rows = Literal["preference", "instruction"]


@dataclass(frozen=True)
class Side:
    """One of two answers."""

    model: str
    text: str


@dataclass(frozen=True)
class Vote:
    """Which of two answers to one prompt somebody found better."""

    prompt: str
    left: Side
    right: Side
    choice: Choice
    blind: bool
    """Whether the names were hidden until then."""
    by: str | None = None
    at: datetime | None = None
    """Known once it is read back."""

    def score(self, model: str) -> int:
        """What it says of a model: 1 it won, -1 it lost, 0 neither."""
        if self.choice in ("both", "neither"):
            return 0
        won = self.left.model if self.choice == "left" else self.right.model
        return 1 if won == model else -1


@dataclass(frozen=True)
class Opinion:
    """What somebody said of one logged answer."""

    request: str
    thumb: Thumb | None = None
    edit: str | None = None
    """The answer as it should have been."""
    by: str | None = None


class Feedback:
    """The feedback of one home. All of it blocks."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def vote(self, vote: Vote) -> Vote:
        """Keep a vote."""
        body = {key: value for key, value in asdict(vote).items() if key != "at"}
        return _vote(self._documents.add(VOTE, secrets.token_hex(8), body))

    def votes(self) -> tuple[Vote, ...]:
        """Every vote, the newest first."""
        return tuple(map(_vote, self._documents.list(VOTE)))

    def say(self, opinion: Opinion) -> Opinion:
        """Keep an opinion, in the place of the one before of the same request."""
        self._documents.put(OPINION, opinion.request, asdict(opinion))
        return opinion

    def opinions(self) -> dict[str, Opinion]:
        """Every opinion, by request."""
        return {each.name: Opinion(**each.body) for each in self._documents.list(OPINION)}


def preferences(
    votes: Sequence[Vote], asked: Iterable[Request], said: Mapping[str, Opinion]
) -> Iterator[dict[str, Any]]:
    """Rows with a chosen and a rejected answer: what won a vote, and what was mended."""
    for vote in votes:
        if vote.choice in ("left", "right"):
            pair = (vote.left, vote.right) if vote.choice == "left" else (vote.right, vote.left)
            if pair[0].text.strip() and pair[1].text.strip() and pair[0].text != pair[1].text:
                yield {"prompt": vote.prompt, "chosen": pair[0].text, "rejected": pair[1].text}
    for request in asked:
        opinion, spoken = said.get(request.id), conversation(request)
        if opinion and opinion.edit and spoken and spoken[-1]["content"] != opinion.edit:
            prompt = spoken[:-1]
            yield {"prompt": prompt, "chosen": opinion.edit, "rejected": spoken[-1]["content"]}


def instructions(asked: Iterable[Request], said: Mapping[str, Opinion]) -> Iterator[dict[str, Any]]:
    """Rows that are conversations: what was asked with its answer, mended where somebody mended it."""
    for request in asked:
        opinion, spoken = said.get(request.id), conversation(request)
        if spoken and not (opinion and opinion.thumb == "down" and not opinion.edit):
            answer = opinion.edit if opinion and opinion.edit else spoken[-1]["content"]
            yield {"messages": [*spoken[:-1], {"role": "assistant", "content": answer}]}


def conversation(request: Request) -> list[dict[str, str]]:
    """A logged chat with its answer, as plain turns; [] where its bodies were not kept or it is none."""
    asked, answered = request.request, request.response
    if not isinstance(asked, dict) or not isinstance(answered, dict):
        return []
    turns = [
        {"role": str(turn.get("role")), "content": turn["content"]}
        for turn in asked.get("messages") or []
        if isinstance(turn, dict) and isinstance(turn.get("content"), str)
    ]
    choices = answered.get("choices") or [{}]
    text = (choices[0].get("message") or {}).get("content")
    whole = bool(turns) and len(turns) == len(asked["messages"]) and turns[-1]["role"] == "user"
    return [*turns, {"role": "assistant", "content": text}] if whole and isinstance(text, str) and text else []


def check_rows(rows: Sequence[Mapping[str, Any]], kind: Rows) -> None:
    """Raise `InputError` where nothing could be made."""
    if rows:
        return
    needed = {
        "preference": "It takes votes between two answers, or answers that somebody mended.",
        "instruction": "It takes chats whose words were kept: start the server with PUMICE_LOG_BODIES=1.",
    }
    raise InputError(f"Nothing here makes a row of {kind} data.", needed[kind], "Ask, judge, and try again.")


def _vote(document: Document) -> Vote:
    body = document.body
    left, right = Side(**body["left"]), Side(**body["right"])
    return Vote(**{**body, "left": left, "right": right, "at": document.created})
