"""A reward model by the pairs whose chosen answer it scores higher, beside its base, which has likelihoods only.

The base ranks the answer first that it finds likelier, per token: summed up, the shorter of two would win by its
length. Knows not how the model was trained.
"""

from __future__ import annotations

from pumice.data.render import Renderer
from pumice.engine.pool import Pool
from pumice.errors import InputError
from pumice.evaluate.answers import Question, ask, score
from pumice.evaluate.classes import accuracy, classify, telling
from pumice.evaluate.compare import paired, verdict
from pumice.evaluate.trial import Trial, choose, mean
from pumice.records import Event, Example, Report, Sample, Tell


async def compare(trial: Trial, pool: Pool, tell: Tell) -> Report:
    """The pairs that are ranked right: by the base's likelihoods, and by the reward model's scores.

    Raises `InputError` for rows that are no pairs, when no row fits the window, and for weights that give no numbers.
    """
    examples = choose(trial.examples, trial.seed, tell)
    for example in examples:
        check_pair(example)
    renderer = Renderer(trial.base.folder)
    pairs = ask(examples, renderer, tell)
    rows = [ending for each in pairs for ending in each.tokens.endings]
    tell(Event("note", {"text": "The base has no scores: it ranks the answer first that it finds likelier a token."}))
    likely = await score(trial.sides[0], rows, renderer.window, pool, tell, "loss")
    found = await classify(trial.whole, [row.ids for row in rows], pool, tell, "scores of the tuned model")

    before = first([-loss for loss in likely.means])
    after = first([value for values in found for value in values])
    differences = {"accuracy": paired(before, after, trial.seed)}
    order = telling(before, after)[: trial.samples]
    return Report(
        set=trial.set,
        count=len(pairs),
        base=accuracy(mean(before)),
        tuned=accuracy(mean(after)),
        differences=differences,
        verdict=verdict(trial.set, len(pairs), differences),
        forgetting=None,
        samples=tuple(sample(pairs[at], before[at], after[at], renderer) for at in order),
    )


def check_pair(example: Example) -> None:
    """Raise `InputError` unless the row has two answers, of which one was chosen."""
    if not example.rejected:
        raise InputError(
            f"The row on line {example.line} has no second answer.",
            "A reward model is compared on pairs.",
            'Give rows like {"prompt": …, "chosen": …, "rejected": …}.',
        )


def sample(pair: Question, base: float, tuned: float, renderer: Renderer) -> Sample:
    """What a person sees of one pair: which answer either model ranks first."""
    assert pair.tokens.rejected is not None
    rejected = renderer.decode(pair.tokens.rejected.ids[len(pair.prompt) :]).strip()
    return Sample(pair.asked, pair.reference, *(pair.reference if right else rejected for right in (base, tuned)))


def first(values: list[float]) -> list[float]:
    """1 for each pair whose first value is the larger one, else 0; a pair that is equal is not told apart."""
    return [float(chosen > rejected) for chosen, rejected in zip(values[::2], values[1::2], strict=True)]
