"""Compare a tuned model with its base, in the way that its method asks for. Knows not how it was trained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from pumice.engine.pool import Pool
from pumice.evaluate import answers, classes, pairs, ranking, rewards
from pumice.evaluate.trial import Trial
from pumice.records import Event, Kind, Report, Tell
from pumice.train.methods.method import ASKABLE, Proof

PROOFS: Mapping[Proof, Callable[[Trial, Pool, Tell], Awaitable[Report]]] = {
    "answers": answers.compare,
    "pairs": pairs.compare,
    "classes": classes.compare,
    "ranking": ranking.compare,
    "rewards": rewards.compare,
}

READS: Mapping[Proof, frozenset[Kind]] = {
    "answers": ASKABLE,
    "pairs": frozenset({Kind.PREFERENCE, Kind.UNPAIRED}),
    "classes": frozenset({Kind.LABELLED}),
    "ranking": frozenset({Kind.PREFERENCE}),
    "rewards": frozenset({Kind.PROMPTS, Kind.INSTRUCTION, Kind.CHAT}),
}
"""The shapes of data that each can compare on."""


async def evaluate(trial: Trial, pool: Pool, tell: Tell) -> Report:
    """Compare both models on the trial's rows. Raises `InputError` for rows or weights that cannot be compared."""
    report = await PROOFS[trial.method.proof](trial, pool, tell)
    engines = {}
    for side in trial.sides:
        if answered := pool.answered(side.folder, side.adapter):
            engines[side.name], said = answered
            if said:
                tell(Event("note", {"text": said}))
    return replace(report, engines=engines)
