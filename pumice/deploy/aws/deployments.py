"""What this home has deployed: the plan under its name, so that later commands need only that."""

from __future__ import annotations

from pumice.deploy.aws.plan import Plan
from pumice.errors import NotFoundError
from pumice.store.documents import Documents

KIND = "aws"


def keep(plan: Plan, documents: Documents) -> None:
    """Remember it, in the place of an earlier one."""
    documents.put(KIND, plan.facts.name, plan.to_json())


def find(name: str, documents: Documents) -> Plan:
    """Raises `NotFoundError`."""
    if found := documents.find(KIND, name):
        return Plan.from_json(found.body)
    there = ", ".join(each.name for each in documents.list(KIND)) or "none"
    raise NotFoundError(
        f"Nothing named {name} was deployed from here.",
        f"There is: {there}.",
        "Make a plan and apply it: pumice deploy aws plan --model NAME",
    )


def forget(name: str, documents: Documents) -> None:
    """Once nothing of it is left."""
    if documents.find(KIND, name):
        documents.delete(KIND, name)
