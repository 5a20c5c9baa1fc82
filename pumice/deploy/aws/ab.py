"""Two variants compared by what their callers got: feedback and latency, out of the log. Changes only weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pumice.deploy.aws.account import Account
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.watch import endpoint, rows
from pumice.errors import ConflictError
from pumice.evaluate.compare import Verdict, judged, negative, unpaired
from pumice.records import Interval

BETTER = {"feedback": "higher", "milliseconds": "lower"}


@dataclass(frozen=True)
class Side:
    """One variant."""

    model: str
    requests: int
    errors: int
    scores: tuple[float, ...]
    milliseconds: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Candidate against model, by one measure."""

    measure: str
    verdict: Verdict
    count: int
    """Of the smaller side."""
    difference: Interval | None
    """Candidate minus model; None where a side has no score."""


@dataclass(frozen=True)
class Result:
    """Both sides and what is proven."""

    sides: Mapping[str, Side]
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the single scores."""
        sides = {
            name: {"model": each.model, "requests": each.requests, "errors": each.errors}
            for name, each in self.sides.items()
        }
        return {"variants": sides, "comparisons": [asdict(each) for each in self.comparisons]}


def compare(facts: Facts, account: Account, since: datetime) -> Result:
    """Read the log and judge. Raises `ConflictError` where there is one variant."""
    check_two(facts)
    found = sides(facts, rows(facts, account, since))
    return Result(found, (of("feedback", found), of("milliseconds", found)))


def check_shape(facts: Facts) -> None:
    """Raise `ConflictError` where two cannot stand side by side."""
    if facts.adapters:
        raise ConflictError(
            f"{facts.name} answers with the version that a request names, so nothing is shared out between them.",
            fix="Compare the versions here: pumice evaluate",
        )
    if facts.mode != "real-time":
        raise ConflictError(
            f"{facts.name} is {facts.mode}, and only a --real-time deployment compares two versions.",
            "SageMaker splits requests between machines alone, and what is asked through S3 leaves no log to judge by.",
            "Compare the versions here: pumice evaluate",
        )


def check_two(facts: Facts) -> None:
    """Raise `ConflictError` where nothing stands beside the model."""
    if len(facts.variants) < 2:
        raise ConflictError(
            f"{facts.name} has one variant, so there is nothing to compare.",
            fix=f"Add a candidate: pumice deploy aws ab {facts.name} --candidate NAME@VERSION --weight 10",
        )


def sides(facts: Facts, log: Iterable[Mapping[str, Any]]) -> dict[str, Side]:
    """The log by variant."""
    kept: dict[str, list[Mapping[str, Any]]] = {each.name: [] for each in facts.variants}
    for row in log:
        kept.get(row.get("variant", ""), []).append(row)
    return {
        each.name: Side(
            each.model,
            len(kept[each.name]),
            sum(row["status"] >= 500 for row in kept[each.name]),
            tuple(row["score"] for row in kept[each.name] if "score" in row),
            tuple(row["milliseconds"] for row in kept[each.name] if row["status"] == 200),
        )
        for each in facts.variants
    }


def of(measure: str, found: Mapping[str, Side]) -> Comparison:
    """One measure, judged as `pumice evaluate` judges."""
    model, candidate = (
        (each.scores if measure == "feedback" else each.milliseconds) for each in (found["A"], found["B"])
    )
    count = min(len(model), len(candidate))
    if not count:
        return Comparison(measure, "undecided", 0, None)
    difference = unpaired(model, candidate, seed=0)
    gain = difference if BETTER[measure] == "higher" else negative(difference)
    return Comparison(measure, judged(gain, count), count, difference)


def shift(facts: Facts, account: Account, weight: int) -> dict[str, float]:
    """Send `weight` percent to the candidate, at once and without a new fleet; the shares then."""
    check_two(facts)
    shares = {"A": (100 - weight) / 100, "B": weight / 100}
    account.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=facts.endpoint,
        DesiredWeightsAndCapacities=[{"VariantName": key, "DesiredWeight": share} for key, share in shares.items()],
    )
    return endpoint(facts, account)[1]
