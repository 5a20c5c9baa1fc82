"""The held-out questions, asked with no shots and with some, scored and paired. Knows not who asked, and no tuning.

Questions are chosen, asked and scored by the code that does so for a tuned model.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pumice.data.render import Renderer
from pumice.data.sets import Sets, choose_sets
from pumice.engine.contract import CONTEXT
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.answers import Answers, answers, ask
from pumice.evaluate.compare import paired
from pumice.evaluate.trial import MOST, Side, choose, mean
from pumice.prompting.report import SEED, Prompting, Tried, way
from pumice.prompting.shots import Shots, exchange
from pumice.prompting.templates import Shot, Template
from pumice.records import Dataset, Event, Example, Examples, Kind, Tell, Turn
from pumice.registry.start import Start
from pumice.store.files import sha256_folder_weights

CLASSES = 50
"""Of more different answers, nobody would say that they are classes."""


async def prompting(
    start: Start,
    dataset: Dataset,
    validation: Dataset | None,
    template: Template,
    counts: Sequence[int],
    variables: Mapping[str, Any],
    pool: Pool,
    tell: Tell,
) -> Prompting:
    """Ask with each of `counts` shots, and always with none. The same call asks the same prompts for ever.

    Raises `InputError` for data without answers or without held-out questions, and for a template that does not fit.
    """
    sets = choose_rows(dataset, validation)
    values = filled(template, variables, sets.trained)
    template.check(values, any(counts))
    renderer = Renderer(start.base.folder)
    writer = Writer(template, values, renderer)
    rows = askable(choose(sets.questions, SEED, tell), writer, tell)
    shots = Shots(sets.trained, {asked(row) for row in rows}, SEED)
    if any(counts) and not shots.all:
        raise InputError(
            f"No row of {dataset.path} can be a shot.",
            "A shot is a question of the user with an answer in words, and none that is asked afterwards.",
            "Bring other rows, or ask with --shots 0.",
        )
    tried: list[Tried] = []
    zero: Answers | None = None
    for count in sorted({0, *counts}):
        written = [writer.fitted(row, shots.near(asked(row), count)) for row in rows]
        questions = ask([each.row for each in written], renderer, tell)
        side = Side(way(count), start.base.folder, start.adapter)
        said = await answers(side, questions, renderer, pool, tell)
        cut = sum(each.shots < count for each in written)
        tokens = mean([len(each.prompt) for each in questions])
        tried.append(summary(count, said, zero, tokens, cut))
        zero = zero or said
    answered = pool.answered(start.base.folder, start.adapter)
    return Prompting(
        model=start.parent or start.base.name,
        template=template.name,
        template_sha256=template.sha256,
        variables=values,
        data_sha256=dataset.sha256,
        validation_sha256=validation.sha256 if validation else None,
        base_sha256=start.base.sha256,
        adapter_sha256=sha256_folder_weights(start.adapter) if start.adapter else None,
        set=sets.name,
        count=len(rows),
        sampled=len(sets.questions) > MOST,
        tried=tuple(tried),
        engine=answered[0] if answered else None,
    )


def summary(count: int, said: Answers, zero: Answers | None, tokens: float, cut: int) -> Tried:
    """What `count` shots got, against no shots where that was asked before."""
    against = {} if zero is None else {"exact_match": zero.exact, "token_f1": zero.f1, "rouge_l": zero.rouge}
    scores = {"exact_match": said.exact, "token_f1": said.f1, "rouge_l": said.rouge}
    return Tried(
        shots=count,
        exact_match=mean(said.exact),
        token_f1=mean(said.f1),
        rouge_l=mean(said.rouge),
        stopped=said.stopped,
        prompt_tokens=tokens,
        cut=cut,
        differences={name: paired(before, scores[name], SEED) for name, before in against.items()},
    )


def choose_rows(dataset: Dataset, validation: Dataset | None) -> Sets:
    """Rows to show and rows to ask, as a run splits them. Raises `InputError` where no question is held out."""
    for each in filter(None, (dataset, validation)):
        if each.kind not in (Kind.INSTRUCTION, Kind.CHAT):
            raise InputError(
                f"{each.path} holds {each.kind} data; prompts are measured on questions with answers.",
                "Read are instruction and chat data: the last exchange of each row.",
                'Write {"prompt": "…", "completion": "…"} or {"messages": […]}.',
            )
    sets = choose_sets(dataset, validation)
    if sets.name == "recall of trained rows":
        raise InputError(
            f"{dataset.path} has {len(dataset.examples):,} rows, and none of them is held out.",
            "Questions must be others than those that shots are taken from; of 200 rows, 20 are held out.",
            "Name a file of questions with answers: --validation FILE",
        )
    return sets


def filled(template: Template, variables: Mapping[str, Any], trained: Examples) -> dict[str, Any]:
    """The variables with `labels`: a list of those given, or the different answers of the trained rows."""
    if "labels" not in template.prompt.variables:
        return dict(variables)
    if "labels" in variables:
        return {**variables, "labels": [label.strip() for label in variables["labels"].split(",") if label.strip()]}
    found = {each.answer.strip() for each in map(exchange, trained) if each}
    if len(found) > CLASSES:
        raise InputError(
            f"{template.name} needs labels, but the rows to train on have {len(found):,} different answers.",
            f"More than {CLASSES} are taken for no classes.",
            "Name them: --var labels=one,two,three; or choose another template.",
        )
    return {**variables, "labels": sorted(found)}


@dataclass(frozen=True)
class Written:
    """A row with the template's turn in the place of its question, and how many shots that shows."""

    row: Example
    shots: int


@dataclass(frozen=True)
class Writer:
    """A template with all that it needs beside the question."""

    template: Template
    values: Mapping[str, Any]
    renderer: Renderer

    @property
    def most(self) -> int:
        """Tokens that a prompt and its answer may have together, as in every comparison."""
        return min(self.renderer.window, CONTEXT)

    def fits(self, row: Example) -> bool:
        """Whether the row can be asked."""
        return len(self.renderer.train(row).ids) <= self.most

    def fitted(self, row: Example, near: Sequence[Shot]) -> Written:
        """The row with as many of the shots as fit; the first, which are the least similar, are left out first."""
        rows = [self.write(row, near[len(near) - shown :]) for shown in range(len(near) + 1)]
        shown = bisect_right(rows, self.most, lo=1, key=lambda each: len(self.renderer.train(each).ids)) - 1
        return Written(rows[shown], shown)

    def write(self, row: Example, shots: Sequence[Shot]) -> Example:
        """The row with the template's turn in the place of its question; its own system turn stays in front."""
        user, system = self.template.write(asked(row), shots, self.values)
        *before, _, answer = row.messages
        if system and before and before[0]["role"] == "system":
            before[0] = Turn(role="system", content=f"{before[0]['content']}\n\n{system}")
        elif system:
            before.insert(0, Turn(role="system", content=system))
        return replace(row, messages=(*before, Turn(role="user", content=user), answer))


def askable(rows: Sequence[Example], writer: Writer, tell: Tell) -> list[Example]:
    """The rows that end with an exchange and fit, both as they are and in the template; the others are told of."""
    kept = [row for row in rows if exchange(row) and writer.fits(row) and writer.fits(writer.write(row, ()))]
    left_out = len(rows) - len(kept)
    if not kept:
        raise InputError(
            f"None of the {len(rows):,} questions can be asked.",
            f"A row must end with a question of the user and its answer, in at most {writer.most:,} tokens.",
            "Shorten the rows or the template.",
        )
    if left_out:
        what = "row does" if left_out == 1 else "rows do"
        why = f"not end with a question and its answer in at most {writer.most:,} tokens"
        tell(Event("note", {"text": f"{left_out:,} {what} {why}, and {'is' if left_out == 1 else 'are'} not asked."}))
    return kept


def asked(row: Example) -> str:
    """The last question of a row."""
    return row.messages[-2]["content"]
