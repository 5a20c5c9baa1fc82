"""Tuned against base by what they answer and how likely they find the references. Knows not how it was trained.

Answers come from the engine that serves; losses come from the engine that can score, at full precision.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumice.data.render import Renderer
from pumice.engine.adapter import in_front
from pumice.engine.answer import Answer, Ask, answer
from pumice.engine.contract import CONTEXT, Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.compare import paired, verdict
from pumice.evaluate.score import exact_match, rouge_l, token_f1
from pumice.evaluate.trial import AT_ONCE, SAMPLES, Side, Trial, choose, counter, mean
from pumice.records import Event, Example, Report, Sample, Scores, Tell, Tokens

LONGEST_ANSWER = 512
GENERAL = Path(__file__).parent / "general.txt"
GENERAL_WINDOW = 256
"""Tokens of general text that are scored in one piece."""


@dataclass(frozen=True)
class Question:
    """One rendered row that has an answer."""

    asked: str
    reference: str
    prompt: list[int]
    tokens: Tokens


@dataclass(frozen=True)
class Answers:
    """What one side said, with its scores, one of each a question."""

    texts: list[str]
    exact: list[float]
    f1: list[float]
    rouge: list[float]
    stopped: int


@dataclass(frozen=True)
class Losses:
    """Summed negative log-likelihood and the number of tokens it is over, one of each a row."""

    sums: list[float]
    counts: list[int]

    @property
    def means(self) -> list[float]:
        """Nats a token, by row."""
        return [total / count for total, count in zip(self.sums, self.counts, strict=True)]

    @property
    def mean(self) -> float:
        """Nats a token over all rows."""
        return sum(self.sums) / sum(self.counts)


async def compare(trial: Trial, pool: Pool, tell: Tell) -> Report:
    """Both models answer the questions and read the references; texts are only read.

    Raises `InputError` when no row fits the window or the tuned weights give no finite loss.
    """
    renderer = Renderer(trial.base.folder)
    sides, seed = trial.sides, trial.seed
    asked = choose(trial.examples, seed, tell)
    is_text = asked[0].text is not None
    # Both are asked the same, so that what one of them needs in front counts for both.
    front = max(in_front(side.adapter) if side.adapter else 0 for side in sides)
    window = renderer.window - front
    questions = [] if is_text else ask(asked, renderer, tell, front)
    rows = [renderer.train(each) for each in asked] if is_text else [each.tokens for each in questions]

    # Losses first: weights that hold no numbers are found before they are converted and served.
    losses = [await score(side, rows, window, pool, tell, "loss") for side in sides]
    # A seq2seq base continues no text, so there is no general one to read to it.
    general = [None if renderer.seq2seq else await forgotten(side, renderer, pool, tell, front) for side in sides]
    said = [await answers(side, questions, renderer, pool, tell) for side in sides] if questions else []

    before, after = losses
    differences = {"loss": paired(before.means, after.means, seed, before.counts)}
    if said:
        differences["exact_match"] = paired(said[0].exact, said[1].exact, seed)
        differences["token_f1"] = paired(said[0].f1, said[1].f1, seed)
        differences["rouge_l"] = paired(said[0].rouge, said[1].rouge, seed)
    base_scores, tuned_scores = (summary(losses[i], general[i], said[i] if said else None) for i in (0, 1))
    return Report(
        set=trial.set,
        count=len(rows),
        base=base_scores,
        tuned=tuned_scores,
        differences=differences,
        verdict=verdict(trial.set, len(rows), differences),
        forgetting=None if general[0] is None or general[1] is None else general[1] - general[0],
        samples=telling(questions, said[0], said[1], trial.samples) if said else (),
    )


async def forgotten(side: Side, renderer: Renderer, pool: Pool, tell: Tell, front: int = 0) -> float:
    """Loss on the general text that ships with Pumice, nats a token; `front` positions of the window are taken."""
    window = renderer.window - front
    pieces = windows(renderer.encode(GENERAL.read_text("utf-8")), min(GENERAL_WINDOW, window))
    return (await score(side, pieces, window, pool, tell, "loss on general text")).mean


def ask(examples: Sequence[Example], renderer: Renderer, tell: Tell, front: int = 0) -> list[Question]:
    """Rows as questions; those that are too long to be asked beside `front` taken positions are left out, and said."""
    questions = []
    most = min(renderer.window - front, CONTEXT)
    for example in examples:
        tokens = renderer.train(example)
        if max(len(each.ids) for each in tokens.endings) > most:
            continue
        prompt = renderer.prompt(example.messages[:-1], example.tools)
        # An answer that only calls a tool has no content: what follows the prompt is then the reference.
        reference = example.messages[-1]["content"] or renderer.decode(tokens.ids[len(prompt) :]).strip()
        asked = [turn["content"] for turn in example.messages if turn["role"] == "user"]
        questions.append(Question(asked[-1] if asked else "", reference, prompt, tokens))
    left_out = len(examples) - len(questions)
    if not questions:
        raise InputError(
            f"None of the {len(examples):,} rows to evaluate on has at most {most:,} tokens.",
            f"The model's window is {renderer.window - front:,} tokens, and engines hold {CONTEXT:,} at most.",
            "Shorten the rows.",
        )
    if left_out:
        rows = "row is" if left_out == 1 else "rows are"
        text = f"{left_out:,} {rows} longer than {most:,} tokens and not evaluated."
        tell(Event("note", {"text": text}))
    return questions


def windows(ids: Sequence[int], size: int) -> list[Tokens]:
    """Text cut into pieces of at most `size` tokens; a single token left over has nothing before it to be told by."""
    cut = [tuple(ids[at : at + size]) for at in range(0, len(ids), size)]
    return [Tokens(piece, piece) for piece in cut if len(piece) > 1]


async def answers(side: Side, questions: Sequence[Question], renderer: Renderer, pool: Pool, tell: Tell) -> Answers:
    """Greedy answers to all questions with their scores."""
    longest = max(len(each.tokens.ids) - len(each.prompt) for each in questions)
    bound = min(LONGEST_ANSWER, 2 * longest + 16)
    said = await said_by(side, [each.prompt for each in questions], bound, renderer, pool, tell)
    pairs = [(each.text.strip(), question.reference) for each, question in zip(said, questions, strict=True)]
    return Answers(
        texts=[text for text, _ in pairs],
        exact=[exact_match(*pair) for pair in pairs],
        f1=[token_f1(*pair) for pair in pairs],
        rouge=[rouge_l(*pair) for pair in pairs],
        stopped=sum(each.finish == "stop" for each in said),
    )


async def said_by(
    side: Side, prompts: Sequence[Sequence[int]], bound: int, renderer: Renderer, pool: Pool, tell: Tell
) -> list[Answer]:
    """Greedy answers of at most `bound` tokens, from the engine that serves."""
    name = side.adapter_name
    if side.adapter and name:
        engine = await pool.ensure(side.folder, name, side.adapter)
    else:
        engine = await pool.get(side.folder)
    slots = asyncio.Semaphore(AT_ONCE)
    step = counter(tell, f"answers of the {side.name} model", len(prompts))

    async def one(prompt: Sequence[int]) -> Answer:
        async with slots:
            said = await answer(engine, renderer, Ask(prompt, Sampling(max_tokens=bound), name))
        step()
        return said

    return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))


async def score(side: Side, rows: Sequence[Tokens], window: int, pool: Pool, tell: Tell, what: str) -> Losses:
    """Likelihood of the labelled tokens of each row; a text longer than the window is scored in pieces."""
    name = side.adapter_name
    engine = await pool.scorer(side.folder)
    if side.adapter and name:
        await engine.load_adapter(name, side.adapter)
    step = counter(tell, f"{what} of the {side.name} model", len(rows))
    sums, counts = [], []
    for row in rows:
        total, count = 0.0, 0
        for start in range(0, len(row.ids) - 1, window):
            ids, labels = row.ids[start : start + window], row.labels[start : start + window]
            if len(ids) < 2:
                continue
            found = await engine.score(ids, name)
            trained = [each.logprob for each, label in zip(found, labels[1:], strict=True) if label != -100]
            total, count = total - sum(trained), count + len(trained)
        sums.append(total)
        counts.append(count)
        step()
    losses = Losses(sums, counts)
    # Past 700 nats a token, or not a number, the perplexity is not a number either.
    if not losses.mean < 700:
        raise InputError(
            f"The {side.name} model's {what} is {losses.mean}: its weights hold no usable numbers.",
            "Training ran away, mostly because the steps were too large.",
            "Train again with a lower `learning_rate`.",
        )
    return losses


def summary(losses: Losses, general: float | None, said: Answers | None) -> Scores:
    """One side's scores, averaged over its rows."""
    return Scores(
        loss=losses.mean,
        perplexity=math.exp(losses.mean),
        exact_match=mean(said.exact) if said else None,
        token_f1=mean(said.f1) if said else None,
        rouge_l=mean(said.rouge) if said else None,
        stopped=said.stopped if said else None,
        general_loss=general,
    )


def telling(questions: Sequence[Question], base: Answers, tuned: Answers, count: int = SAMPLES) -> tuple[Sample, ...]:
    """So many questions that show the difference: gains first, but one place is kept for a miss where there is one."""
    change = [after - before for before, after in zip(base.f1, tuned.f1, strict=True)]
    by_size = sorted(range(len(questions)), key=lambda i: -abs(change[i]))
    gains = [i for i in by_size if tuned.exact[i] > base.exact[i]]
    misses = [i for i in by_size if tuned.exact[i] == 0]
    rest = [i for i in by_size if i not in gains and i not in misses]
    order = [*gains[: count - 1], *misses[:1], *gains[count - 1 :], *misses[1:], *rest]
    return tuple(
        Sample(questions[i].asked, questions[i].reference, base.texts[i], tuned.texts[i]) for i in order[:count]
    )
