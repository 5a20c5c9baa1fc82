"""All that the templates are made from. Knows no AWS API: the same facts make the same bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pumice.deploy.aws.template import short_hash
from pumice.errors import InputError

Mode = Literal["real-time", "serverless", "async"]
TAG = "pumice:deployment"
"""On everything that is made, with the deployment's name."""
PLAN_TAG = "pumice:plan"
"""On both stacks, with the id of the plan that made or last changed them."""
NAME = re.compile(r"[a-z][a-z0-9-]{1,18}[a-z0-9]")


@dataclass(frozen=True)
class Variant:
    """One model behind the endpoint."""

    name: Literal["A", "B"]
    model: str
    """`name@version`, or a base."""
    data: str
    """S3 address: a `model.tar.gz`, or a prefix that ends in a slash."""
    weight: float = 1.0
    """Share of the requests, against the other's."""


@dataclass(frozen=True)
class Adapter:
    """One of several versions over the same base, which share its machine."""

    model: str
    """`name@version`, as requests name it."""
    data: str
    """S3 address of a `model.tar.gz`."""

    @property
    def mark(self) -> str:
        """For names that AWS takes, different for different versions."""
        short = re.sub(r"[^a-z0-9]+", "-", self.model.lower()).strip("-")[:24].strip("-")
        return f"{short}-{short_hash(self.model)[:6]}"


@dataclass(frozen=True)
class Facts:
    """A deployment."""

    name: str
    account: str
    region: str
    mode: Mode
    instance: str
    """As SageMaker calls it: `ml.g5.xlarge`; "" for serverless."""
    image: str
    variants: tuple[Variant, ...]
    """What runs: a model and perhaps a candidate, or the one base of `adapters`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the image is told."""
    code: str = ""
    """Key of the functions' zip in the bucket; it holds the hash of what is in it."""
    memory: int = 6144
    """MB of a serverless container."""
    idle_minutes: int = 60
    """A real-time endpoint that nobody asked for so long is deleted; an asynchronous one goes to zero machines."""
    budget: int = 50
    """US dollars a month; at 80 % of it a mail is sent."""
    email: str = ""
    page: bool = False
    """Whether the console stands on CloudFront."""
    adapters: tuple[Adapter, ...] = ()
    """Versions that are inference components over the base."""
    log_bodies: bool = False
    """Whether the request log keeps what was asked and answered."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise InputError(
                f"--name {self.name} cannot be a deployment's name.",
                "It begins with a letter and has 3 to 20 small letters, digits and dashes, as names of buckets do.",
            )

    @property
    def bucket(self) -> str:
        """Models, data and code; nobody else's, as the account is part of the name."""
        return f"pumice-{self.name}-{self.account}-{self.region}"

    @property
    def endpoint_stack(self) -> str:
        """Costs by the hour."""
        return f"pumice-{self.name}-endpoint"

    @property
    def api_stack(self) -> str:
        """Costs by the request."""
        return f"pumice-{self.name}-api"

    @property
    def stacks(self) -> tuple[str, ...]:
        """Those that there are: an asynchronous endpoint is asked through S3, so no API stands before it."""
        return (self.endpoint_stack,) if self.mode == "async" else (self.endpoint_stack, self.api_stack)

    @property
    def endpoint(self) -> str:
        """SageMaker's endpoint."""
        return f"pumice-{self.name}"

    @property
    def components(self) -> dict[str, str]:
        """SageMaker's inference component of each version; none without adapters."""
        return {each.model: f"{self.endpoint}-{each.mark}" for each in self.adapters}

    @property
    def tags(self) -> list[dict[str, str]]:
        """As CloudFormation takes them."""
        return [{"Key": TAG, "Value": self.name}]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made."""
        variants = tuple(Variant(**each) for each in values["variants"])
        adapters = tuple(Adapter(**each) for each in values.get("adapters", ()))
        return cls(**{**values, "variants": variants, "adapters": adapters})
