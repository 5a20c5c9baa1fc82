"""`/api/votes`: which of two answers people found better, and what that proves. The answers come from `/v1`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import combinations
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from pumice.api.console.shown import Row, who
from pumice.api.platform import Platform
from pumice.evaluate.compare import judged, paired
from pumice.records import Interval
from pumice.traffic.feedback import Choice, Feedback, Side, Vote

Words = Annotated[str, Field(max_length=200_000)]


class ShownSide(Row):
    model: str
    text: Words


class VoteRequest(BaseModel):
    prompt: Words
    left: ShownSide
    right: ShownSide
    choice: Choice
    blind: bool = True


class ShownVote(Row):
    """One vote."""

    prompt: str
    left: ShownSide
    right: ShownSide
    choice: Choice
    blind: bool
    by: str | None
    at: datetime | None


class Standing(BaseModel):
    """How one model stands against another."""

    one: str
    other: str
    won: int
    lost: int
    tied: int
    interval: Interval
    """Won minus lost as a share of all votes, with its 95 % interval."""
    verdict: str
    """`better`, `worse` or `undecided`, of `one`."""


class Votes(BaseModel):
    """Every vote, the newest first, and what they say."""

    data: list[ShownVote]
    standings: list[Standing]


def router(platform: Platform) -> APIRouter:
    """The two routes."""
    routes, feedback = APIRouter(prefix="/votes", tags=["feedback"]), Feedback(platform.documents)

    @routes.post("")
    async def vote(asked: VoteRequest, http: Request) -> ShownVote:
        """Keep which answer was better; votes become rows of preference data."""
        left, right = (Side(side.model, side.text) for side in (asked.left, asked.right))
        said = Vote(asked.prompt, left, right, asked.choice, asked.blind, who(http))
        return ShownVote.model_validate(await asyncio.to_thread(feedback.vote, said))

    @routes.get("")
    async def list_votes() -> Votes:
        """Every vote, and how the models stand against each other."""
        found = await asyncio.to_thread(feedback.votes)
        return Votes(data=[ShownVote.model_validate(each) for each in found], standings=standings(found))

    return routes


def standings(votes: tuple[Vote, ...]) -> list[Standing]:
    """Each pair of models that met, with the newest votes' pair first."""
    met = dict.fromkeys(frozenset((vote.left.model, vote.right.model)) for vote in votes)
    names = [sorted(pair) for pair in met if len(pair) == 2]
    return [_standing(one, other, votes) for one, other in (next(combinations(pair, 2)) for pair in names)]


def _standing(one: str, other: str, votes: tuple[Vote, ...]) -> Standing:
    between = [vote for vote in votes if {vote.left.model, vote.right.model} == {one, other}]
    scores = [vote.score(one) for vote in between]
    interval = paired([0.0] * len(scores), scores, seed=0)
    return Standing(
        one=one,
        other=other,
        won=scores.count(1),
        lost=scores.count(-1),
        tied=scores.count(0),
        interval=interval,
        verdict=judged(interval, len(scores)),
    )
