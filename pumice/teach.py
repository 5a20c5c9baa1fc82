"""A teacher answers the prompts that its student is trained on, once, so that whatever happens the rows are the same.

Each answer is kept in the job's folder as soon as it is there: a resumed job asks for those that are missing. Does not
train, and needs no database.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pumice.config import Home
from pumice.data.render import Renderer
from pumice.data.render.renderer import UNTRAINED
from pumice.data.token_rows import Rows
from pumice.data.tokenise import Fitted
from pumice.engine.answer import Ask, answer
from pumice.engine.contract import CONTEXT, Sampling
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.trial import AT_ONCE, counter, stopping
from pumice.plan import Material, Plan
from pumice.records import Event, Example, Tell, Tokens, Turn
from pumice.store.files import write_atomic
from pumice.train.methods import Distill

KEPT = "answers.jsonl"
"""One line an answer, in the order in which they came."""
SEAL = "answers.sha256"
"""Hash of all answers in the order of the rows, written once none is missing."""
STOPPED = "Stopped while the teacher answered; what it has said so far is kept."


@dataclass(frozen=True)
class Said:
    """What the teacher answered to one prompt."""

    text: str
    ended: bool
    """False where it was cut off at `max_tokens`: then it does not show where to end."""


def teach(
    plan: Plan, material: Material, folder: Path, home: Home, tell: Tell, should_stop: Callable[[], bool]
) -> Material:
    """The rows with a teacher's answers, where the plan wants them; else `material` as it is.

    Questions that have no answer of their own get the teacher's as reference. Raises `StoppedError`, and `InputError`
    for prompts that the teacher cannot read and for answers that were changed by hand.
    """
    knobs = plan.recipe.knobs
    if not isinstance(knobs, Distill) or knobs.source == "logits":
        return material
    assert plan.guide, "the plan of a distillation names its teacher"
    tell(Event("stage", {"name": "ask"}))
    student, limit = Renderer(plan.base.folder), plan.recipe.max_length or plan.base.window
    trained = list(material.sets.trained)
    given = [prompt_of(example) for example in trained]
    if any(prompt is not example for prompt, example in zip(given, trained, strict=True)):
        tell(Event("note", {"text": "The data's own answers are left out: the student learns those of its teacher."}))
    # The longer ones were dropped when the rows were rendered, or the job had ended there.
    rows = [each for each in given if len(student.prompt(each.messages, each.tools)) < limit]
    unanswered = [each for each in material.sets.questions if prompt_of(each) is each]
    teacher = Renderer(plan.guide)
    prompts = {key_of(each): teacher.prompt(each.messages, each.tools) for each in (*rows, *unanswered)}
    check_room(prompts, [*rows, *unanswered], min(teacher.window, CONTEXT))
    said = read(folder / KEPT, prompts)
    if len(said) < len(prompts):
        heard = stopping(tell, should_stop, STOPPED)
        pool = Pool(home.cache, serving=plan.serving(home))
        asyncio.run(ask(plan.guide, teacher, prompts, said, knobs.max_tokens, folder / KEPT, pool, heard))
    seal(said, prompts, folder)

    taken = [each for each in rows if said[key_of(each)].text.strip()]
    tell(Event("note", {"text": told([said[key_of(each)] for each in rows], knobs.max_tokens)}))
    if not taken:
        raise InputError(
            f"The teacher {knobs.teacher} gave no answer to any of the {len(rows):,} prompts.",
            "An empty answer teaches nothing.",
            "Choose another teacher; `pumice chat` shows what one answers.",
        )
    tokens = Rows.of(learned(each, said[key_of(each)], student, limit) for each in taken)
    questions = tuple(
        answered(each, said[key_of(each)]) if prompt_of(each) is each else each for each in material.sets.questions
    )
    sets = replace(material.sets, questions=questions)
    return replace(material, rows=Fitted(tokens, material.rows.note), sets=sets)


def prompt_of(example: Example) -> Example:
    """The row without its last answer; the row itself where it ends with a question."""
    if example.messages[-1]["role"] != "assistant":
        return example
    return replace(example, messages=example.messages[:-1])


def answered(prompt: Example, said: Said) -> Example:
    """The prompt with the teacher's answer."""
    turn: Turn = {"role": "assistant", "content": said.text.strip()}
    return replace(prompt, messages=(*prompt.messages, turn))


def learned(prompt: Example, said: Said, student: Renderer, limit: int) -> Tokens:
    """The row as the student learns it: of all that is said in it the teacher's answer alone, in `limit` tokens."""
    tokens = student.train(answered(prompt, said))
    before = len(student.prompt(prompt.messages, prompt.tools))
    labels = [*[UNTRAINED] * before, *tokens.labels[before:]]
    if not said.ended:
        last = max(at for at, label in enumerate(labels) if label != UNTRAINED)
        labels[last] = UNTRAINED
    return Tokens(tokens.ids[:limit], tuple(labels[:limit]))


def told(said: list[Said], most: int) -> str:
    """What came of the asking, as a sentence."""
    empty, cut = sum(not each.text.strip() for each in said), sum(not each.ended for each in said)
    parts = [f"The teacher answered {len(said):,} prompt{'' if len(said) == 1 else 's'}"]
    if cut:
        parts.append(f"{cut:,} answers were cut at {most:,} tokens, so their end is not learned")
    if empty:
        parts.append(f"{empty:,} empty ones are left out")
    return "; ".join(parts) + "."


def key_of(example: Example) -> str:
    """The name of a prompt in the file of answers: equal prompts are asked once."""
    return hashlib.sha256(json.dumps([example.messages, example.tools], sort_keys=True).encode()).hexdigest()[:32]


def check_room(prompts: Mapping[str, list[int]], rows: list[Example], most: int) -> None:
    """Raise `InputError` for a prompt that leaves the teacher no token to answer in."""
    for example in rows:
        if (size := len(prompts[key_of(example)])) >= most:
            raise InputError(
                f"The prompt in line {example.line} of the data has {size:,} tokens for the teacher.",
                f"Prompt and answer together may have {most:,}.",
                "Shorten the prompt, or delete the row.",
            )


def read(file: Path, prompts: Mapping[str, Any]) -> dict[str, Said]:
    """The answers that are there; a half line, which a killed worker left, is cut off."""
    if not file.exists():
        return {}
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomic(file, whole)
    lines = [json.loads(line) for line in whole.splitlines()]
    return {line["prompt"]: Said(line["text"], line["ended"]) for line in lines if line["prompt"] in prompts}


async def ask(
    folder: Path,
    teacher: Renderer,
    prompts: Mapping[str, list[int]],
    said: dict[str, Said],
    most: int,
    file: Path,
    pool: Pool,
    tell: Tell,
) -> None:
    """Greedy answers to the prompts that have none in `said`, each written to `file` and put there when it is whole."""
    missing = {key: ids for key, ids in prompts.items() if key not in said}
    room, slots = min(teacher.window, CONTEXT), asyncio.Semaphore(AT_ONCE)
    step = counter(tell, "answers of the teacher", len(missing))
    async with pool:
        engine = await pool.get(folder)
        with file.open("a", encoding="utf-8") as lines:

            async def one(key: str, ids: list[int]) -> None:
                async with slots:
                    sampling = Sampling(max_tokens=min(most, room - len(ids)))
                    found = await answer(engine, teacher, Ask(ids, sampling))
                said[key] = Said(found.text, found.finish == "stop")
                lines.write(json.dumps({"prompt": key, "text": found.text, "ended": said[key].ended}) + "\n")
                lines.flush()
                step()

            await asyncio.gather(*(one(key, ids) for key, ids in missing.items()))


def seal(said: Mapping[str, Said], prompts: Mapping[str, Any], folder: Path) -> None:
    """Keep the hash of all answers. Raises `InputError` where they are not the ones that it was made of before."""
    answers = [[key, said[key].text, said[key].ended] for key in prompts]
    found, path = hashlib.sha256(json.dumps(answers).encode()).hexdigest(), folder / SEAL
    if not path.exists():
        write_atomic(path, found + "\n")
    elif path.read_text().strip() != found:
        raise InputError(
            f"{folder / KEPT} has changed since the teacher wrote it.",
            "The job would go on with other rows than it was trained on so far.",
            "Put the file back, or start a new job: pumice run",
        )
