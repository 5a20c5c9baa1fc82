"""What this home has deployed, under its name, so that later commands need only that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from pumice.deploy.aws.account import Account
from pumice.deploy.aws.facts import Facts
from pumice.errors import ConflictError, NotFoundError
from pumice.store.documents import Documents

KIND = "aws"


@dataclass(frozen=True)
class Deployed:
    """One of them, and whose credentials made it."""

    facts: Facts
    profile: str | None
    image: str | None = None
    """The user's own, where AWS's do not answer."""

    def keep(self, documents: Documents) -> None:
        """Remember it, in the place of an earlier one."""
        documents.put(KIND, self.facts.name, asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `keep` wrote."""
        return cls(**{**values, "facts": Facts.from_json(values["facts"])})


def find(name: str, documents: Documents) -> Deployed:
    """Raises `NotFoundError`."""
    if found := documents.find(KIND, name):
        return Deployed.from_json(found.body)
    there = ", ".join(each.name for each in documents.list(KIND)) or "none"
    raise NotFoundError(
        f"Nothing named {name} was deployed from here.",
        f"There is: {there}.",
        "Make a plan and apply it: pumice deploy aws plan --model NAME",
    )


def facts_for(name: str, account: Account, documents: Documents) -> Facts:
    """Of what has no endpoint, or none yet: it has a bucket and a name all the same. Raises `ConflictError`."""
    number = account.id()
    if held := documents.find(KIND, name):
        there = Deployed.from_json(held.body).facts
        if (there.account, there.region) == (number, account.region):
            return there
        raise ConflictError(
            f"{name} is deployed in the account {there.account}, {there.region}.", fix="Choose another name: --name"
        )
    return Facts(name, number, account.region, "real-time", "", "", ())


def keep_new(facts: Facts, account: Account, documents: Documents) -> None:
    """Remember it, unless it is known: what has an endpoint says more."""
    if not documents.find(KIND, facts.name):
        Deployed(facts, account.profile).keep(documents)


def forget(name: str, documents: Documents) -> None:
    """Once nothing of it is left."""
    if documents.find(KIND, name):
        documents.delete(KIND, name)
