"""Which service quotas a deployment needs, found by their names, and what the account has of them."""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import ClientError

from pumice.deploy.aws.account import Account, heard, translated
from pumice.errors import ConflictError, DeniedError

SERVERLESS = "Maximum total concurrency that can be allocated across all serverless endpoints"


@dataclass(frozen=True)
class Quota:
    """One of SageMaker's, with the account's value; None where the account could not be asked."""

    name: str
    needed: float
    value: float | None = None
    code: str = ""

    @property
    def ask(self) -> str:
        """The command that asks for more."""
        return (
            "aws service-quotas request-service-quota-increase --service-code sagemaker "
            f"--quota-code {self.code or '…'} --desired-value {self.needed:g}"
        )


def needed(mode: str, instance: str, count: int) -> list[Quota]:
    """What an endpoint with `count` variants, or a training job, takes up."""
    if mode == "serverless":
        return [Quota(SERVERLESS, 5 * count)]
    use = {"training": "training job usage", "spot": "spot training job usage"}.get(mode, "endpoint usage")
    return [Quota(f"{instance} for {use}", count)]


def looked_up(quotas: list[Quota], account: Account) -> list[Quota]:
    """The same with the account's values. Who may not read quotas still gets a plan."""
    names = {each.name for each in quotas}
    found: dict[str, tuple[float, str]] = {}
    try:
        pages = account.client("service-quotas").get_paginator("list_service_quotas")
        for page in pages.paginate(ServiceCode="sagemaker"):
            found |= {
                each["QuotaName"]: (each["Value"], each["QuotaCode"])
                for each in page["Quotas"]
                if each["QuotaName"] in names
            }
    except ClientError as error:
        if isinstance(translated(error), DeniedError) and "AccessDenied" in error.response["Error"]["Code"]:
            return quotas
        with heard():
            raise
    for each in quotas:
        if each.name not in found:
            raise ConflictError(
                f"{account.region} has no quota named {each.name!r}.",
                "SageMaker has one for every kind of machine that it rents there, so it rents none of this kind.",
                "Choose another --instance or another --region.",
            )
    return [Quota(each.name, each.needed, *found[each.name]) for each in quotas]


def check(quotas: list[Quota]) -> None:
    """Raise `ConflictError` for the first that is too small, with how to ask for more."""
    for each in quotas:
        if each.value is not None and each.value < each.needed:
            raise ConflictError(
                f"The account's quota {each.name!r} is {each.value:g}, and this needs {each.needed:g}.",
                "New accounts have 0 of most machines; AWS raises it on request, often within a day.",
                f"Ask for more, then plan again: {each.ask}",
            )
