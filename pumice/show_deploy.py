"""What a person sees of deployments. Knows no AWS API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pumice.deploy.aws.ab import Result
from pumice.deploy.aws.apply import Made
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.plan import Plan
from pumice.deploy.aws.prices import HOURS
from pumice.deploy.aws.quotas import Quota
from pumice.deploy.aws.training_plan import TrainingPlan
from pumice.deploy.aws.watch import Status
from pumice.records import Model
from pumice.show import document, say, table


def name_for(model: str) -> str:
    """A deployment's name out of a model's."""
    short = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].partition("@")[0].lower()).strip("-")
    return (short if short[:1].isalpha() else f"m-{short}")[:20].strip("-")


def dollars(hourly: float) -> tuple[str, str]:
    """By the hour and by the month."""
    return (f"${hourly:.3f}", f"${hourly * HOURS:,.0f}") if hourly else ("", "")


def plan(made: Plan) -> None:
    """Everything that will be there, what it costs, and what stands in the way."""
    facts = made.facts
    rows = [(each.what, each.why, *dollars(each.hourly), each.note) for each in made.resources]
    table(
        f"{facts.name} in {facts.region}, account {facts.account}", ("What", "Why", "An hour", "A month", "And"), rows
    )
    say(f"Runs all the time: {' or '.join(dollars(made.hourly)) or 'nothing'} a month, by the list of {made.priced}.")
    say(f"Memory: the model needs {made.needs:.1f} GB, there are {made.has:g}.")
    needed(made.quotas)
    if facts.mode == "async":
        say(f"It is asked through S3 and has no address: pumice deploy aws invoke {facts.name} 'How are you?'")
    elif not facts.page:
        say("Without a page: the console is not built here. Build it (make install, with Node 20.19), then plan again.")


def training(made: TrainingPlan) -> None:
    """The same of a training."""
    facts = made.facts
    rows = [(each.what, each.why, dollars(each.hourly)[0], each.note) for each in made.resources]
    table(f"{facts.name} in {facts.region}, account {facts.account}", ("What", "Why", "An hour", "And"), rows)
    if made.hourly:
        say(f"While it runs: ${made.hourly:.3f} an hour, by the list of {made.priced}; nothing afterwards but storage.")
        say(f"Memory: each process needs about {made.needs:.1f} GB, and has {made.has:g}.")
    needed(made.quotas)


def needed(quotas: Sequence[Quota]) -> None:
    """Each quota with what the account has."""
    for quota in quotas:
        have = "the account could not be asked" if quota.value is None else f"the account has {quota.value:g}"
        say(f"Quota {quota.name!r}: needs {quota.needed:g}, {have}. More: {quota.ask}")


def unchanged(out: Path) -> None:
    """What a plan ends with."""
    say(f"Nothing was changed. Make it: pumice deploy aws apply {out}")


def trained(model: Model) -> None:
    """What came back."""
    say(f"{model.id} is registered. Compare it: pumice evaluate {model.id} --data FILE")


def made(plan: Plan, found: Made, as_json: bool) -> None:
    """Where it answers."""
    if as_json:
        document(found.to_json())
        return
    name = plan.facts.name
    if found.url:
        say(f"{name} answers at {found.url}/chat/completions with the header x-api-key: {found.key}")
    if found.page:
        say(f"Page: {found.page}, which asks for the same key")
    if plan.facts.adapters:
        say(f'A request\'s "model" names its version: {", ".join(plan.facts.components)}')
    say(f"Ask it: pumice deploy aws invoke {name} 'How are you?'    Remove it: pumice deploy aws destroy {name}")


def status(facts: Facts, found: Status, as_json: bool) -> None:
    """Its parts, one a line."""
    if as_json:
        document(found.to_json())
        return
    models = {str(each.name): each.model for each in facts.variants}
    shares = [f"{name} {models.get(name, '?')} {share:.0%}" for name, share in found.variants.items()]
    if facts.adapters:
        shares = [f"{len(facts.adapters)} versions over {models['A']}"]
    rows: list[tuple[str, Any]] = [
        ("endpoint", " · ".join([found.endpoint, *shares])),
        *found.stacks.items(),
    ]
    if facts.adapters:
        rows.append(("versions", ", ".join(facts.components)))
    if facts.mode != "async":
        rows += [("API", found.url), ("page", found.page or "none"), ("requests of the last hour", str(found.requests))]
    table(f"{facts.name} in {facts.region}", ("Part", "State"), rows)


def destroyed(name: str, gone: list[str]) -> None:
    """The proof."""
    say(f"{name} is gone. Looked for and not found: {', '.join(gone)}.")


def compared(result: Result, as_json: bool) -> None:
    """Both variants, and what is proven by each measure."""
    if as_json:
        document(result.to_json())
        return
    rows = [
        (name, side.model, str(side.requests), str(side.errors), str(len(side.scores)))
        for name, side in result.sides.items()
    ]
    table("Variants", ("Variant", "Model", "Requests", "Errors", "Feedback"), rows)
    for each in result.comparisons:
        found = each.difference
        told = f"{found.value:+.3g} [{found.low:+.3g}, {found.high:+.3g}]" if found else "nothing to compare yet"
        say(f"By {each.measure} the candidate is {each.verdict}: {told}, {each.count} on the smaller side.")
