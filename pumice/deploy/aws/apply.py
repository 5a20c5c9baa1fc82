"""A plan made true: bucket, code and models, then the endpoint's stack, then the API's. Read this after `plan.py`.

Interrupted, it goes on where it was when it is run again; failed, it takes back what it made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from botocore.exceptions import ClientError

from pumice.config import Home
from pumice.deploy.aws import artifacts, bucket, code, deployments, page
from pumice.deploy.aws.account import Account, heard, missing
from pumice.deploy.aws.api import api_stack
from pumice.deploy.aws.deployments import Deployed
from pumice.deploy.aws.destroy import destroy
from pumice.deploy.aws.endpoint import endpoint_stack
from pumice.deploy.aws.facts import PLAN_TAG, Facts
from pumice.deploy.aws.plan import Plan, check_current, state
from pumice.deploy.aws.stacks import Stack
from pumice.deploy.aws.template import body
from pumice.errors import PumiceError, UnavailableError
from pumice.registry.models import Registry
from pumice.store.documents import Documents

Tell = Callable[[str], None]
WHOLE = ("CREATE_COMPLETE", "UPDATE")


@dataclass(frozen=True)
class Made:
    """Where it answers; all "" for an asynchronous endpoint, which is asked through S3."""

    url: str
    key: str
    """API key; it is shown once and can be read again in the account."""
    page: str
    """Where the console stands; empty without one."""

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return dict(vars(self))


def apply(plan: Plan, account: Account, registry: Registry, home: Home, tell: Tell) -> Made:
    """Make what the plan says. Raises a `PumiceError`; nothing that this plan made is left then."""
    facts = plan.facts
    with heard():
        check_current(plan, account)
        page.check(facts, account)
        # The last stack: once it is there, people ask this deployment, and no failure may take it away.
        fresh = not plan.before and not state(facts, account).get(facts.stacks[-1], "").startswith(WHOLE)
    documents = Documents(registry.database)
    Deployed(facts, plan.profile, facts.image if plan.engine == "pumice" else None).keep(documents)
    try:
        with heard():
            made = build(plan, account, registry, home, tell)
    except PumiceError as error:
        if not fresh:
            raise
        tell("It failed; what was made is taken back.")
        try:
            with heard():
                destroy(facts, account, tell)
        except PumiceError as left:
            # Both are told: why it failed, and what must still be taken away.
            raise UnavailableError(error.what, f"{error.why} {left.what}".strip(), left.fix) from error
        deployments.forget(facts.name, documents)
        raise
    return made


def build(plan: Plan, account: Account, registry: Registry, home: Home, tell: Tell) -> Made:
    """In order; every step finds what an interrupted run has done."""
    facts = plan.facts
    s3, cloudformation = account.client("s3"), account.client("cloudformation")
    tell(f"Bucket {facts.bucket}")
    bucket.ensure(s3, facts)
    key, packed = code.packed()
    s3.put_object(Bucket=facts.bucket, Key=key, Body=packed)
    tell("Models")
    for lay, address in files(plan, registry, home):
        artifacts.send(lay, address, s3, home.cache, tell)
    tags = [*facts.tags, {"Key": PLAN_TAG, "Value": plan.id}]
    tell("Endpoint (its machine takes 5 to 15 minutes)")
    stack = Stack(cloudformation, facts.endpoint_stack)
    if stack.describe() and not answering(facts, account):
        # Switched off while idle: CloudFormation does not know, and would find nothing to change.
        stack.delete(tell)
    stack.apply(body(endpoint_stack(facts)), tags, plan.id, tell)
    if facts.mode == "async":
        return Made("", "", "")
    tell("API")
    outputs = Stack(cloudformation, facts.api_stack).apply(body(api_stack(facts)), tags, plan.id, tell)
    if facts.page and page.built():
        tell("Page")
        page.put(s3, outputs["PageBucket"], facts.components)
    elif facts.page:
        tell("The page stays as it is: the console is not built here.")
    found = account.client("apigateway").get_api_key(apiKey=outputs["KeyId"], includeValue=True)
    return Made(outputs["Url"], found["value"], outputs.get("PageUrl", ""))


def files(plan: Plan, registry: Registry, home: Home) -> Iterator[tuple[Callable[[Path], None], str]]:
    """What is sent: how it is laid, and where to."""
    facts = plan.facts
    if facts.adapters:
        base, versions = artifacts.several([each.model for each in facts.adapters], registry, home)
        yield partial(artifacts.lay, base, plan.engine), facts.variants[0].data
        for version, adapter in zip(versions, facts.adapters, strict=True):
            yield partial(artifacts.lay_adapter, version), adapter.data
        return
    for variant in facts.variants:
        yield partial(artifacts.lay, artifacts.find(variant.model, registry, home), plan.engine), variant.data


def answering(facts: Facts, account: Account) -> bool:
    """Whether the endpoint itself is there."""
    try:
        account.client("sagemaker").describe_endpoint(EndpointName=facts.endpoint)
    except ClientError as error:
        if missing(error):
            return False
        raise
    return True
