"""Tuned against base by what a scorer gives their answers, and how far the tuned model has moved from its base.

Answers are greedy and come from the engine that serves. Knows not how the model was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pumice.data.render import Renderer
from pumice.engine.answer import Answer
from pumice.engine.contract import CONTEXT
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.answers import forgotten, said_by, score
from pumice.evaluate.classes import classify
from pumice.evaluate.compare import paired, verdict
from pumice.evaluate.trial import Trial, choose, mean
from pumice.records import Event, Example, Report, Sample, Scores, Tell, Tokens
from pumice.train import scorers
from pumice.train.methods import Rlhf


@dataclass(frozen=True)
class Said:
    """What one side answered to all prompts, and what that is worth."""

    answers: Sequence[Answer]
    rewards: Sequence[float]


async def compare(trial: Trial, pool: Pool, tell: Tell) -> Report:
    """Both models answer the prompts, and the method's scorer judges both.

    Raises `InputError` when no prompt fits the window, the scorer fails or the tuned weights give no finite loss.
    """
    knobs = trial.method
    assert isinstance(knobs, Rlhf)
    renderer, sides, seed = Renderer(trial.base.folder), trial.sides, trial.seed
    # Loaded first: what is wrong with the user's function is told before an engine starts.
    scorer = None if trial.guide else scorers.scorer(knobs.reward)
    rows = [row for example in choose(trial.examples, seed, tell) for row in knobs.reads(example)]
    asked, prompts = ask(rows, knobs.max_tokens, renderer, tell)

    general = [await forgotten(side, renderer, pool, tell) for side in sides]
    found = []
    for side in sides:
        answers = await said_by(side, prompts, knobs.max_tokens, renderer, pool, tell)
        if scorer is None:
            rewards = await judged(trial, read(prompts, answers, renderer), pool, tell, side.name)
        else:
            pairs = zip(asked, answers, strict=True)
            rewards = [scorer(row.facts["prompt"], one.text.strip(), row.facts) for row, one in pairs]
        found.append(Said(answers, rewards))
    before, after = found

    own = read(prompts, after.answers, renderer)
    losses = [await score(side, own, renderer.window, pool, tell, "loss on the tuned answers") for side in sides]
    differences = {"reward": paired(before.rewards, after.rewards, seed)}
    return Report(
        set=trial.set,
        count=len(asked),
        base=summary(before, general[0]),
        tuned=summary(after, general[1], losses[0].mean - losses[1].mean),
        differences=differences,
        verdict=verdict(trial.set, len(asked), differences),
        forgetting=general[1] - general[0],
        samples=telling(asked, before, after, trial.samples),
    )


def ask(
    rows: Sequence[Example], longest: int, renderer: Renderer, tell: Tell
) -> tuple[list[Example], list[tuple[int, ...]]]:
    """The prompts behind which `longest` tokens have room, and their ids; the others are left out, and said to be."""
    most = min(renderer.window, CONTEXT) - longest
    rendered = [(row, tuple(renderer.prompt(row.messages, row.tools))) for row in rows]
    kept = [(row, ids) for row, ids in rendered if len(ids) <= most]
    left_out = len(rows) - len(kept)
    if not kept:
        raise InputError(
            f"None of the {len(rows):,} prompts to evaluate on has at most {most:,} tokens.",
            f"Engines hold {min(renderer.window, CONTEXT):,} tokens of this model, {longest:,} of them for the answer.",
            "Shorten the prompts, or lower rlhf.max_tokens.",
        )
    if left_out:
        prompts = "prompt is" if left_out == 1 else "prompts are"
        tell(Event("note", {"text": f"{left_out:,} {prompts} longer than {most:,} tokens and not evaluated."}))
    return [row for row, _ in kept], [ids for _, ids in kept]


def read(prompts: Sequence[Sequence[int]], answers: Sequence[Answer], renderer: Renderer) -> list[Tokens]:
    """Prompts with their answers behind them, as a conversation that was trained on: with the token that ends it."""
    rows = []
    for prompt, each in zip(prompts, answers, strict=True):
        written = (*each.ids, *(renderer.stop_ids[:1] if each.finish == "stop" else ()))
        rows.append(Tokens((*prompt, *written), (*[-100] * len(prompt), *written)))
    return rows


async def judged(trial: Trial, rows: Sequence[Tokens], pool: Pool, tell: Tell, name: str) -> list[float]:
    """The reward model's score of each."""
    assert trial.guide is not None
    found = await classify(trial.guide, [row.ids for row in rows], pool, tell, f"rewards of the {name} model")
    return [value for values in found for value in values]


def summary(said: Said, general: float, moved: float | None = None) -> Scores:
    """One side's scores, averaged over its prompts."""
    nothing: dict[str, Any] = dict.fromkeys(("loss", "perplexity", "exact_match", "token_f1", "rouge_l"))
    return Scores(
        **nothing,
        stopped=sum(each.finish == "stop" for each in said.answers),
        general_loss=general,
        reward=mean(said.rewards),
        kl=moved,
    )


def telling(asked: Sequence[Example], before: Said, after: Said, count: int) -> tuple[Sample, ...]:
    """So many prompts: those whose reward rose most, and in the last place the one whose reward rose least."""
    gains = [now - was for was, now in zip(before.rewards, after.rewards, strict=True)]
    order = sorted(range(len(asked)), key=lambda place: -gains[place])
    shown = order if len(order) <= count else [*order[: count - 1], order[-1]]
    return tuple(
        Sample(
            asked[place].facts["prompt"],
            str(asked[place].facts.get("reference", "")),
            before.answers[place].text.strip(),
            after.answers[place].text.strip(),
        )
        for place in shown
    )
