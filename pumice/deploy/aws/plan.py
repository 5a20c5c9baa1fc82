"""What a deployment will be, decided once: every resource with its reason, price, quota and memory. Changes nothing.

`apply` takes the file that this writes, and no other word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, Self

from botocore.exceptions import ClientError

from pumice.config import Home
from pumice.deploy.aws import artifacts, code, page, prices, quotas
from pumice.deploy.aws.account import Account, heard, missing
from pumice.deploy.aws.facts import PLAN_TAG, Adapter, Facts, Mode, Variant
from pumice.deploy.aws.quotas import Quota
from pumice.deploy.aws.stacks import Stack, check_whole
from pumice.deploy.aws.template import short_hash
from pumice.deploy.sagemaker import images
from pumice.errors import ConflictError, InputError
from pumice.registry.models import Registry
from pumice.store.files import write_atomic

GOOD_FOR = timedelta(hours=24)
ONE_GPU = 24
"""GB of the largest machine with one GPU, or none."""
MEMORIES = (1024, 2048, 3072, 4096, 5120, 6144)
"""MB that a serverless container may have."""


@dataclass(frozen=True)
class Resource:
    """One thing that will be made."""

    what: str
    why: str
    hourly: float = 0.0
    """US dollars, used or not."""
    note: str = ""
    """What it costs by use."""


class Kept(Protocol):
    """What a file is made of."""

    def to_json(self) -> dict[str, Any]:
        """As kept in the file."""


PAGE = Resource(
    "CloudFront and a private bucket",
    "the console's playground: ask the model from a browser",
    note="free up to 1 TB a month",
)
"""Where there is one."""


@dataclass(frozen=True)
class Wanted:
    """What the user asked for."""

    model: str
    """Several versions, with commas between them, are adapters over their one base."""
    name: str
    mode: Mode = "real-time"
    instance: str | None = None
    image: str | None = None
    candidate: str | None = None
    weight: int = 10
    """Percent of the requests that go to the candidate."""
    email: str = ""


@dataclass(frozen=True)
class Plan:
    """A deployment, ready to be made."""

    facts: Facts
    engine: images.Engine
    profile: str | None
    made: str
    resources: tuple[Resource, ...]
    quotas: tuple[Quota, ...]
    needs: float
    """GB of memory that the model needs."""
    has: float
    """GB that the machine has."""
    priced: str
    """The date of the price table."""
    before: Mapping[str, str]
    """How the account was when this was planned."""

    @property
    def id(self) -> str:
        """Names this plan in tags and change sets."""
        return short_hash([asdict(self.facts), self.made])

    @property
    def hourly(self) -> float:
        """US dollars an hour, used or not."""
        return sum(each.hourly for each in self.resources)

    def to_json(self) -> dict[str, Any]:
        """As kept in the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_json` made."""
        return cls(**restored(values))


def restored(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a plan of either kind, with what both are made of as it was."""
    return {
        **values,
        "facts": Facts.from_json(values["facts"]),
        "resources": tuple(Resource(**each) for each in values["resources"]),
        "quotas": tuple(Quota(**each) for each in values["quotas"]),
    }


def make(wanted: Wanted, account: Account, registry: Registry, home: Home) -> Plan:
    """Decide. Raises a `PumiceError` of its own for each thing that stands in the way."""
    table = prices.machines(home.root)
    names = [each.strip() for each in wanted.model.split(",")]
    versions: tuple[artifacts.Subject, ...] = ()
    if len(names) > 1:
        check_count(names)
        subject, versions = artifacts.several(names, registry, home)
        table = together(wanted, table)
    else:
        subject = artifacts.find(wanted.model, registry, home)
    machine = choose_machine(wanted, subject, table)
    engine = artifacts.choose(subject, bool(machine and machine.gpu), wanted.image)
    needs = artifacts.needs(subject, engine) + artifacts.weigh(versions)
    has = machine.memory if machine else MEMORIES[-1] / 1024
    check_memory(wanted, needs, has)
    with heard():
        number = account.id()
        image = images.serving(engine, account.region, wanted.image)
        key, _ = code.packed()
        facts = Facts(
            name=wanted.name,
            account=number,
            region=account.region,
            mode=wanted.mode,
            instance=machine.name if machine else "",
            image=image,
            variants=(),
            environment=images.ENVIRONMENT[engine]
            | (images.lora(max(map(artifacts.rank, versions))) if versions else {})
            | over_gpus(engine, machine, needs),
            code=key,
            memory=next((each for each in MEMORIES if each / 1024 >= needs), MEMORIES[-1]),
            email=wanted.email,
        )
        # A page that is there is not taken away because the console is not built on this machine.
        facts = replace(facts, page=page.built() or page.there(facts, account))
        if versions:
            held = Variant("A", subject.id, artifacts.address(subject, engine, facts.bucket))
            made = tuple(Adapter(each.id, artifacts.adapter_address(each, facts.bucket)) for each in versions)
            facts = replace(facts, variants=(held,), adapters=made)
        else:
            facts = replace(facts, variants=variants(wanted, facts, engine, registry, home))
        check_taken(facts, account)
        count = len(facts.variants)
        found = quotas.looked_up(quotas.needed(wanted.mode, facts.instance, count), account)
        before = state(facts, account)
    quotas.check(found)
    resources = tuple(listed(facts, machine))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    priced = prices.READ_ON.isoformat()
    return Plan(facts, engine, account.profile, now, resources, tuple(found), needs, has, priced, before)


def over_gpus(engine: images.Engine, machine: prices.Machine | None, needs: float) -> dict[str, str]:
    """What the image is told of a model that needs more gigabytes than one of the machine's GPUs has."""
    if engine != "vllm" or machine is None or needs <= machine.memory / machine.processes:
        return {}
    return images.split(machine.processes)


def check_count(names: list[str]) -> None:
    """Raise `InputError` for a version that is named twice, and for more than one machine takes."""
    if len(set(names)) < len(names) or len(names) > images.MOST_ADAPTERS:
        raise InputError(
            f"--model names {len(names)} versions, {len(set(names))} of them different.",
            f"Each stands once over the base, and there are at most {images.MOST_ADAPTERS}.",
        )


def together(wanted: Wanted, table: tuple[prices.Machine, ...]) -> tuple[prices.Machine, ...]:
    """The machines that hold a base with adapters over it. Raises `InputError` for another shape."""
    if wanted.mode != "real-time" or wanted.candidate:
        raise InputError(
            "Several versions share a machine in a real-time deployment without a candidate.",
            "SageMaker has adapters over one base as inference components, and for nothing else.",
            "Leave --async and --serverless out, or name one version.",
        )
    fitting = tuple(each for each in table if each.memory <= ONE_GPU and (each.gpu or wanted.image))
    if wanted.instance and all(each.name != wanted.instance for each in fitting):
        raise InputError(
            f"--instance {wanted.instance} does not hold several versions.",
            "vLLM serves adapters on one GPU.",
            f"Choose one of {', '.join(each.name for each in fitting)}.",
        )
    return fitting


def choose_machine(
    wanted: Wanted, subject: artifacts.Subject, table: tuple[prices.Machine, ...]
) -> prices.Machine | None:
    """The one that was named, or the cheapest that holds the model; None for serverless. Raises `InputError`."""
    if wanted.mode == "serverless":
        if wanted.instance:
            raise InputError("--serverless and --instance do not go together.", "A serverless endpoint has no machine.")
        return None
    if wanted.instance:
        return prices.find(wanted.instance, table)
    parameters = subject.base.parameters
    engine = artifacts.choose(subject, parameters > prices.SMALL, wanted.image)
    need = artifacts.needs(subject, engine)
    if (found := prices.cheapest(parameters, need, table)) is None:
        raise InputError(
            f"{subject.id} needs {need:.0f} GB, and no machine of the table has that.",
            "A model answers from memory alone.",
            "Deploy a smaller one.",
        )
    return found


def check_memory(wanted: Wanted, needs: float, has: float) -> None:
    """Raise `InputError` for a model that does not fit."""
    if needs <= has:
        return
    where = wanted.instance or "A serverless container"
    raise InputError(
        f"{wanted.model} needs {needs:.1f} GB of memory, and {where} has {has:g}.",
        "Weights, the tokens of four callers, and the program must fit at once.",
        "Choose a larger --instance, or leave it out: the plan then takes the cheapest that fits.",
    )


def variants(
    wanted: Wanted, facts: Facts, engine: images.Engine, registry: Registry, home: Home
) -> tuple[Variant, ...]:
    """The model, and the candidate beside it. Raises `InputError` for two that one image cannot answer with."""
    names = [wanted.model, *([wanted.candidate] if wanted.candidate else [])]
    made = []
    for letter, name in zip(("A", "B"), names, strict=False):
        subject = artifacts.find(name, registry, home)
        if engine != "pumice" and artifacts.special(subject):
            raise InputError(
                f"{name} cannot stand beside {wanted.model}.",
                f"Both variants run the same image, and {engine} does not answer with {name}.",
                "Plan with an image that has Pumice in it: --image",
            )
        weight = 1.0 if not wanted.candidate else (wanted.weight if letter == "B" else 100 - wanted.weight) / 100
        address = artifacts.address(subject, engine, facts.bucket)
        made.append(Variant(letter, subject.id, address, weight))  # type: ignore[arg-type]
    return tuple(made)


def state(facts: Facts, account: Account) -> dict[str, str]:
    """What there is of this deployment now: each stack by its last change, the bucket by its being there."""
    cloudformation = account.client("cloudformation")
    found = {}
    for name in (facts.endpoint_stack, facts.api_stack):
        stack = Stack(cloudformation, name)
        if described := stack.describe():
            at = described.get("LastUpdatedTime") or described["CreationTime"]
            tags = {each["Key"]: each["Value"] for each in described.get("Tags", [])}
            found[name] = f"{described['StackStatus']} {at.isoformat()} {tags.get(PLAN_TAG, '')}"
    return found


def check_taken(facts: Facts, account: Account) -> None:
    """Raise `ConflictError` for a name that something else has, and for what is half made."""
    cloudformation = account.client("cloudformation")
    ours = False
    for name in (facts.endpoint_stack, facts.api_stack):
        stack = Stack(cloudformation, name)
        check_whole(stack)
        if name not in facts.stacks and stack.describe():
            raise ConflictError(
                f"{facts.name} has an API, which cannot ask an asynchronous endpoint.",
                "Such an endpoint answers through S3, after minutes where its machine must start.",
                f"Choose another --name, or remove it first: pumice deploy aws destroy {facts.name}",
            )
        if found := stack.describe():
            ours = any(each["Key"] == PLAN_TAG for each in found.get("Tags", []))
            if not ours:
                raise taken(facts, f"the stack {name}")
    if ours:
        return
    try:
        account.client("sagemaker").describe_endpoint(EndpointName=facts.endpoint)
    except ClientError as error:
        if not missing(error):
            raise
    else:
        raise taken(facts, f"the endpoint {facts.endpoint}")


def taken(facts: Facts, what: str) -> ConflictError:
    """The name belongs to something else."""
    return ConflictError(
        f"The name {facts.name} is taken in {facts.region}: there is {what}, which Pumice did not make.",
        "It would be changed, or deleted later, by somebody who does not know of it.",
        "Choose another: --name",
    )


def listed(facts: Facts, machine: prices.Machine | None) -> list[Resource]:
    """Everything that will be there, with why."""
    made = [
        Resource(
            f"S3 bucket {facts.bucket}",
            "holds the model and the functions' code",
            note=f"${prices.STORED} a GB and month",
        )
    ]
    for each in facts.variants:
        if machine:
            why = f"answers with {each.model}, {each.weight:.0%} of the requests"
            note = (
                "no machine while nobody asks"
                if facts.mode == "async"
                else f"deleted after {facts.idle_minutes} idle minutes"
            )
            made.append(Resource(f"SageMaker {facts.instance}, variant {each.name}", why, machine.price, note))
        else:
            second = prices.SERVERLESS_SECOND * facts.memory / 1024
            note = f"${second:.5f} a second of answering"
            made.append(
                Resource(
                    f"SageMaker serverless, {facts.memory} MB, variant {each.name}",
                    f"answers with {each.model}",
                    note=note,
                )
            )
    made += [
        Resource(
            f"Inference component {name}", f"answers for {model}, an adapter over the base", note="no machine more"
        )
        for model, name in facts.components.items()
    ]
    made += [
        Resource("IAM roles", "one a function and one for the container, each with the few actions that it needs"),
        Resource("SNS topic, two alarms", "speak when answers fail or become slow"),
        Resource(f"Budget of ${facts.budget} a month", "speaks at 80 % of it; the default is on", note="free"),
    ]
    if facts.mode == "real-time":
        made.append(Resource("Lambda function and a clock", "deletes the endpoint when nobody asks", note="free"))
    if facts.mode == "async":
        made.append(Resource("Queue, scaling, an alarm", "start a machine for the first request, and stop it after"))
        return made
    return [
        *made,
        Resource(
            "API Gateway, key, usage plan",
            "who may ask, and how often",
            note=f"${prices.REQUEST * 1e6:.2f} a million requests, with function and log",
        ),
        Resource("Lambda function", "checks each request, asks the endpoint, logs it"),
        Resource("DynamoDB table", "one row a request, for 30 days; what was said is not in it"),
        Resource(
            "CloudWatch logs, metrics, dashboard",
            "kept for 30 days",
            note="about $3 a month for the dashboard past three",
        ),
        *([PAGE] if facts.page else []),
    ]


def save(plan: Kept, path: Path) -> None:
    """Write the file."""
    write_atomic(path, json.dumps(plan.to_json(), indent=2) + "\n")


def load(path: Path) -> Plan:
    """Read the plan of a deployment. Raises `InputError` for what is none, and for one that is too old."""
    with one_of(path):
        return Plan.from_json(read(path))


def read(path: Path) -> Mapping[str, Any]:
    """What a plan's file holds. Raises `InputError` for what is none, and `ConflictError` for one that is too old."""
    try:
        with one_of(path):
            values: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
            made = datetime.fromisoformat(values["made"])
            expired = datetime.now(UTC) - made > GOOD_FOR
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.", fix="Make a plan: pumice deploy aws plan --model NAME") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if expired:
        raise ConflictError(
            f"{path} was made on {made:%Y-%m-%d %H:%M} UTC and has expired.",
            "Prices, quotas and what is in the account may be others after a day.",
            "Make a new one with the same `pumice deploy aws plan`.",
        )
    return values


@contextmanager
def one_of(path: Path) -> Iterator[None]:
    """Raise `InputError` for a file that holds something else than a plan."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no plan.", fix="Make one: pumice deploy aws plan --model NAME") from error


def check_account(facts: Facts, account: Account) -> None:
    """Raise `ConflictError` where the account is another one than the plan's."""
    if (number := account.id()) != facts.account:
        raise ConflictError(
            f"The plan is for the AWS account {facts.account}, and these credentials are of {number}.",
            fix="Use the profile that it was planned with, or plan again.",
        )


def check_current(plan: Plan, account: Account) -> None:
    """Raise `ConflictError` where the account is another one, or has moved on since the plan was made."""
    facts = plan.facts
    check_account(facts, account)
    now = state(facts, account)
    moved = [name for name in {*now, *plan.before} if now.get(name) != plan.before.get(name)]
    # What an interrupted apply of this very plan has made is no change.
    strange = [name for name in moved if not now.get(name, "").endswith(plan.id)]
    if strange:
        raise ConflictError(
            f"The account has moved on since the plan was made: {', '.join(sorted(strange))} changed.",
            "The plan would undo what somebody else has done.",
            "Make a new one with the same `pumice deploy aws plan`.",
        )
