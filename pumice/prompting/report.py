"""What prompting reached, as JSON and back, as rows of a table, and in one sentence. Knows no model and no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pumice.data.sets import SetName
from pumice.evaluate.compare import FEWEST
from pumice.evaluate.report import interval_of, percent, points
from pumice.records import Interval

SEED = 0
"""Which questions are drawn of many: those of an untouched recipe."""


@dataclass(frozen=True)
class Tried:
    """What one number of shots got. Fractions are 0 to 1."""

    shots: int
    exact_match: float
    token_f1: float
    rouge_l: float
    stopped: int
    """How many answers ended by themselves."""
    prompt_tokens: float
    """Mean over the questions, with all that the chat template adds."""
    cut: int
    """Questions that had no room for all of the shots."""
    differences: Mapping[str, Interval]
    """Against no shots, by score, paired over questions; empty for no shots itself."""


@dataclass(frozen=True)
class Prompting:
    """One template on one set of questions."""

    model: str
    template: str
    template_sha256: str
    variables: Mapping[str, Any]
    data_sha256: str
    validation_sha256: str | None
    base_sha256: str
    adapter_sha256: str | None
    """None for a base as it is."""
    set: SetName
    count: int
    sampled: bool
    """Whether the questions are some of more, drawn with `SEED`."""
    tried: tuple[Tried, ...]
    """By number of shots; the first has none."""
    engine: str | None = None
    """What answered, as in a comparison's report."""

    @property
    def best(self) -> Tried:
        """The highest token F1; of equals the one with fewer shots."""
        return max(self.tried, key=lambda each: (each.token_f1, -each.shots))


class Row(NamedTuple):
    """One line of the table, ready to print; where there is an interval, it is the cell's second line."""

    shots: str
    exact_match: str
    token_f1: str
    rouge_l: str
    prompt_tokens: str


def to_json(found: Prompting) -> dict[str, Any]:
    """Plain dictionaries, lists, strings and numbers; `from_json` gives back an equal one."""
    return {**asdict(found), "tried": [asdict(each) for each in found.tried]}


def from_json(data: Mapping[str, Any]) -> Prompting:
    """What `to_json` wrote. Raises `KeyError` or `TypeError` for anything else."""
    tried = (
        Tried(**{**each, "differences": {name: Interval(**value) for name, value in each["differences"].items()}})
        for each in data["tried"]
    )
    return Prompting(**{**data, "tried": tuple(tried)})


def table(found: Prompting) -> list[Row]:
    """One row a number of shots, each score with its change against no shots."""
    rows = []
    for each in found.tried:
        exact, f1, rouge = percent(each.exact_match), f"{each.token_f1:.2f}", f"{each.rouge_l:.2f}"
        if each.differences:
            exact += f"\n{points(each.differences['exact_match'])}"
            f1 += f"\n{interval_of(each.differences['token_f1'])}"
            rouge += f"\n{interval_of(each.differences['rouge_l'])}"
        rows.append(Row(f"{each.shots:,}", exact, f1, rouge, f"{each.prompt_tokens:,.0f}"))
    return rows


def sentence(found: Prompting) -> str:
    """The best number of shots, what it is proven to gain and what it costs."""
    best, zero = found.best, found.tried[0]
    noun = "question" if found.count == 1 else "questions"
    where = f"{found.count:,} {noun} {'held out' if found.set == 'held-out rows' else 'of the validation file'}"
    got = f"exact match {percent(best.exact_match)} and token F1 {best.token_f1:.2f}"
    cost = f"{best.prompt_tokens:,.0f} prompt tokens a question"
    if best is zero:
        more = " More shots gained nothing." if len(found.tried) > 1 else ""
        return f"Best on {where}: zero-shot, with {got}, for {cost}.{more}"
    change = interval_of(best.differences["token_f1"])
    proven = found.count >= FEWEST and best.differences["token_f1"].low > 0
    proof = f"token F1 changed by {change} against zero-shot" + ("." if proven else ", which may be chance.")
    return f"Best on {where}: {way(best.shots)}, with {got}, for {cost} against {zero.prompt_tokens:,.0f}; {proof}"


def cuts(found: Prompting) -> list[str]:
    """A sentence for each number of shots that did not fit everywhere."""
    return [
        f"{each.cut:,} of {found.count:,} questions had no room for {each.shots:,} "
        f"{'shot' if each.shots == 1 else 'shots'} and were asked with fewer."
        for each in found.tried
        if each.cut
    ]


def way(shots: int) -> str:
    """A number of shots as practitioners call it."""
    return {0: "zero-shot", 1: "one-shot"}.get(shots, f"few-shot ({shots:,})")
