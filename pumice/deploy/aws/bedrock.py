"""A whole model as an imported one on Bedrock: no machine, no cost while nobody asks but its storage."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from pumice.config import Home
from pumice.deploy.aws import artifacts, bucket
from pumice.deploy.aws.account import Account, missing
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.stacks import Stack
from pumice.deploy.aws.template import Template, allow, att, body, role, sub, template
from pumice.errors import InputError, UnavailableError
from pumice.registry.models import Registry

FAMILIES = ("Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "T5", "GptOss")
"""Architectures that Bedrock imports, as its documents listed them on 2026-11-22."""
PAUSE = 15.0


def import_stack(facts: Facts) -> Template:
    """One role: Bedrock may read this model, and nothing else."""
    place = f"arn:${{AWS::Partition}}:s3:::{facts.bucket}"
    statements = [
        allow("s3:GetObject", sub(f"{place}/models/*")),
        allow("s3:ListBucket", sub(place), {"StringLike": {"s3:prefix": "models/*"}}),
    ]
    resources = {"Role": role("bedrock.amazonaws.com", "model", statements, ours=True)}
    return template("Pumice: what Bedrock may read.", resources, {"RoleArn": att("Role", "Arn")})


def stack_name(facts: Facts) -> str:
    """It goes with the deployment."""
    return f"pumice-{facts.name}-import"


def bring(
    model: str, facts: Facts, account: Account, registry: Registry, home: Home, tell: Callable[[str], None]
) -> str:
    """Upload the merged weights, have Bedrock import them, and wait; the model's ARN. Raises a `PumiceError`."""
    subject = artifacts.find(model, registry, home)
    check(subject)
    s3, bedrock = account.client("s3"), account.client("bedrock")
    bucket.ensure(s3, facts)
    address = artifacts.address(subject, "vllm", facts.bucket)
    artifacts.send(partial(artifacts.lay, subject, "vllm"), address, s3, home.cache, tell)
    stack = Stack(account.client("cloudformation"), stack_name(facts))
    outputs = stack.apply(body(import_stack(facts)), facts.tags, str(int(time.time())), tell)
    job = bedrock.create_model_import_job(
        jobName=f"{facts.endpoint}-{int(time.time())}",
        importedModelName=facts.endpoint,
        roleArn=outputs["RoleArn"],
        modelDataSource={"s3DataSource": {"s3Uri": address}},
    )["jobArn"]
    while (found := bedrock.get_model_import_job(jobIdentifier=job))["status"] == "InProgress":
        tell("  Bedrock imports it")
        time.sleep(PAUSE)
    if found["status"] != "Completed":
        raise UnavailableError(
            f"Bedrock did not import {model}.",
            found.get("failureMessage", "It gives no reason."),
            f"Put it right and run the command again, or remove what is there: pumice deploy aws destroy {facts.name}",
        )
    return str(found["importedModelArn"])


def check(subject: artifacts.Subject) -> None:
    """Raise `InputError` for what Bedrock does not import."""
    architecture = subject.base.architecture
    if artifacts.special(subject) or not architecture.startswith(FAMILIES):
        raise InputError(
            f"Bedrock does not import {subject.id}: {architecture}.",
            f"It takes whole models of these families: {', '.join(FAMILIES)}.",
            "Deploy it on SageMaker: pumice deploy aws plan",
        )


def remove(facts: Facts, account: Account, tell: Callable[[str], None]) -> None:
    """Delete the imported model and its role; idempotent."""
    stack = Stack(account.client("cloudformation"), stack_name(facts))
    if stack.describe() is None:
        return
    if imported(account.client("bedrock"), facts):
        account.client("bedrock").delete_imported_model(modelIdentifier=facts.endpoint)
    tell(f"Stack {stack.name}")
    stack.delete(tell)


def imported(bedrock: Any, facts: Facts) -> bool:
    """Whether the model is there."""
    try:
        bedrock.get_imported_model(modelIdentifier=facts.endpoint)
    except ClientError as error:
        if missing(error):
            return False
        raise
    return True
