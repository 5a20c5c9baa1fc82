"""What a training on SageMaker will be, before anything is paid for: machines, price, quota, memory, what is sent.

The data is read and rendered here, so that a mistake in it costs no machine. Changes nothing in the account.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pumice import plan as jobs
from pumice.bases import resolve
from pumice.config import Home
from pumice.deploy.aws import deployments, plan, prices, quotas, training
from pumice.deploy.aws.account import Account, heard
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.plan import Plan, Resource
from pumice.deploy.aws.quotas import Quota
from pumice.deploy.aws.training import Options
from pumice.errors import ConflictError, InputError
from pumice.records import Base, Model
from pumice.registry.models import Registry
from pumice.store.documents import Documents
from pumice.train import sizes
from pumice.train.methods import Pretrain
from pumice.train.recipe import Recipe
from pumice.train.spread import spread


@dataclass(frozen=True)
class TrainingPlan:
    """A training, ready to be started."""

    facts: Facts
    job: str
    """The job's name: it follows from recipe and data."""
    recipe: Mapping[str, Any]
    options: Options
    profile: str | None
    made: str
    resources: tuple[Resource, ...]
    quotas: tuple[Quota, ...]
    needs: float
    """GB of memory that each process needs."""
    has: float
    """GB that each has."""
    priced: str
    """The date of the price table."""

    @property
    def hourly(self) -> float:
        """US dollars an hour while it runs."""
        return sum(each.hourly for each in self.resources)

    def to_json(self) -> dict[str, Any]:
        """As kept in the file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_json` made."""
        options = {**values["options"], **{key: tuple(values["options"][key]) for key in ("subnets", "groups")}}
        return cls(**{**plan.restored(values), "options": Options(**options)})


def make(recipe: Recipe, name: str, options: Options, account: Account, registry: Registry, home: Home) -> TrainingPlan:
    """Decide. Raises a `PumiceError` of its own for each thing that stands in the way."""
    machine = prices.find(options.instance, prices.machines(home.root))
    with base_of(recipe, registry, home) as base:
        needs = 0.0 if options.serverless else memory(recipe, base, machine, options, home)
        # The files of one that is there already are sent.
        size = sum(each.stat().st_size for each in base.folder.iterdir() if each.is_file())
        trained = "a new model" if isinstance(recipe.knobs, Pretrain) else f"{base.name} ({size / 1e9:.1f} GB)"
    with heard():
        facts = deployments.facts_for(name, account, Documents(registry.database))
        job = training.job_name(facts, recipe, home)
        found: list[Quota] = []
        if not options.serverless:
            mode = "spot" if options.spot else "training"
            found = quotas.looked_up(quotas.needed(mode, options.instance, options.instances), account)
    quotas.check(found)
    return TrainingPlan(
        facts=facts,
        job=job,
        recipe=recipe.model_dump(mode="json", exclude_none=True),
        options=options,
        profile=account.profile,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        resources=tuple(listed(facts, job, recipe, trained, machine, options)),
        quotas=tuple(found),
        needs=needs,
        has=machine.memory / machine.processes,
        priced=prices.READ_ON.isoformat(),
    )


@contextmanager
def base_of(recipe: Recipe, registry: Registry, home: Home) -> Iterator[Base]:
    """What is trained; a new model is made for as long as its size is asked for."""
    if not isinstance(recipe.knobs, Pretrain):
        yield resolve.resolve(recipe.model, home)
        return
    home.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.cache) as folder:
        yield jobs.start_of(recipe, registry, home, Path(folder) / "base").base


def memory(recipe: Recipe, base: Base, machine: prices.Machine, options: Options, home: Home) -> float:
    """GB that a process needs. Raises `DataError` and `InputError` for what could not train there."""
    if recipe.weights.four_bits and not machine.gpu:
        raise InputError(
            f"qlora needs an NVIDIA GPU, and {machine.name} has none.",
            "Its 4-bit weights are computed by bitsandbytes, on a GPU only.",
            "Choose an --instance with one, or train with lora.",
        )
    material = jobs.gather(recipe, base, home)
    rows = material.rows.tokens
    resolved = spread(jobs.resolve(recipe, base, material).recipe, options.instances * machine.processes)
    has = machine.memory / machine.processes
    tokens, longest = int(rows.sizes.sum()), int(rows.sizes.max())
    needs = sizes.estimate(resolved, base, tokens, longest, machine.gpu, int(has * 1e9)).memory_bytes / 1e9
    if needs > has:
        raise InputError(
            f"Training {base.name} needs {needs:.1f} GB of memory, and {machine.name} has {has:g} for each process.",
            "Every process holds the whole model; more of them make a step faster, not smaller.",
            "Choose a larger --instance, a smaller batch_size, or method: qlora.",
        )
    return needs


def listed(
    facts: Facts, job: str, recipe: Recipe, trained: str, machine: prices.Machine, options: Options
) -> list[Resource]:
    """Everything that will be there, with why; `trained` says what is."""
    hours = training.LONGEST // 3600
    made = [
        Resource(
            f"S3 bucket {facts.bucket}",
            "holds data, base, code, checkpoints and the result",
            note=f"${prices.STORED} a GB and month",
        ),
        Resource(f"IAM role, stack {training.stack_name(facts)}", "what the job may do: read and write in that bucket"),
    ]
    if options.serverless:
        why = "trains with AWS's own loop"
        return [*made, Resource(f"SageMaker job {job}", why, note="AWS asks for it by its own list, not in this table")]
    price = machine.price * options.instances
    note = f"by the second until the job ends, at most {hours} hours: ${price * hours:,.0f}"
    if options.spot:
        note += "; spot machines cost less, by the day's price"
    count = f"{options.instances} x {machine.name}"
    return [
        *made,
        Resource(f"SageMaker job {job}, {count}", f"{recipe.method} on {trained}", price, note),
        Resource("CloudWatch log /aws/sagemaker/TrainingJobs", "what the job tells", note="a few cents; stays"),
    ]


def load(path: Path) -> Plan | TrainingPlan:
    """Read a plan of either kind. Raises `InputError` for what is none, and for one that is too old."""
    values = plan.read(path)
    with plan.one_of(path):
        return TrainingPlan.from_json(values) if "recipe" in values else Plan.from_json(values)


def start(found: TrainingPlan, account: Account, registry: Registry, home: Home, tell: training.Tell) -> Model:
    """Make the plan true: what was trained, registered. Interrupted, it follows the same job when it is run again.

    Raises `ConflictError` where account or data are others than the plan's.
    """
    recipe = Recipe.model_validate(found.recipe)
    with heard():
        plan.check_account(found.facts, account)
        if training.job_name(found.facts, recipe, home) != found.job:
            raise ConflictError(
                f"{recipe.data} has changed since the plan was made.",
                "Price, memory and rows were those of other data.",
                "Make a new one with the same `pumice deploy aws plan`.",
            )
        return training.train(recipe, found.facts, found.options, account, registry, home, tell)
