"""Results of prompting, kept so that a comparison of a tuned model can tell of them. Knows no templates, no engines."""

from __future__ import annotations

import hashlib
import json

from pumice.config import Home
from pumice.data import documents as sources
from pumice.evaluate.report import percent
from pumice.prompting.report import SEED, Prompting, from_json, to_json, way
from pumice.records import Model, Report
from pumice.store.documents import Documents
from pumice.store.s3 import Objects

KIND = "prompting"


def keep(found: Prompting, documents: Documents) -> None:
    """So that a later comparison can tell of it; the same order, asked again, takes the place of what it got before."""
    order = {**to_json(found), "tried": [each.shots for each in found.tried], "set": None, "count": None}
    documents.put(KIND, hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest(), to_json(found))


def beside(
    report: Report,
    data_sha256: str,
    validation_sha256: str | None,
    base_sha256: str,
    seed: int,
    documents: Documents,
) -> str:
    """What prompting the same base reached on the questions of `report`, beside what tuning did; "" where nobody tried.

    Of several results the best is told, so that tuning is held against all that prompting was seen to reach.
    """
    same = [
        found
        for found in (from_json(each.body) for each in documents.list(KIND))
        if (found.data_sha256, found.validation_sha256) == (data_sha256, validation_sha256)
        and (found.base_sha256, found.adapter_sha256) == (base_sha256, None)
        and (found.set, found.count) == (report.set, report.count)
        and found.engine in (None, report.engines.get("base", found.engine))
        and (seed == SEED or not found.sampled)
    ]
    if not same or report.tuned.exact_match is None or report.tuned.token_f1 is None:
        return ""
    found = max(same, key=lambda each: each.best.token_f1)
    prompted = found.best
    exact, f1 = percent(prompted.exact_match), f"{prompted.token_f1:.2f}"
    got = f"{way(prompted.shots)} with {found.template} already got {exact} exact match, token F1 {f1}"
    now = f"tuning {percent(report.tuned.exact_match)}, {report.tuned.token_f1:.2f}"
    return f"Prompting alone: {got} on the same questions; {now}."


def beside_model(model: Model, data: str | None, report: Report, home: Home, documents: Documents) -> str:
    """`beside` for a registered model that was compared on `data`, or on the questions of its recipe."""
    asked = data or model.recipe.get("validation")
    sha256 = sources.sha256(Objects(home.s3).locate(asked)) if asked else None
    return beside(report, model.data_sha256, sha256, model.base_sha256, model.recipe.get("seed", 0), documents)
