"""Models on machines that are rented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.shared import Json, open_registry
from pumice.errors import InputError

if TYPE_CHECKING:
    from pumice.deploy.aws.account import Account
    from pumice.deploy.aws.facts import Facts
    from pumice.store.documents import Documents

app = typer.Typer(help="Put a model on machines that are rented.", no_args_is_help=True)
aws = typer.Typer(help="On AWS: plan, apply, status, logs, invoke, destroy.", no_args_is_help=True)
app.add_typer(aws, name="aws")

Deployed = Annotated[str, typer.Argument(metavar="NAME", help="The deployment's name.")]
Profile = Annotated[str | None, typer.Option(help="Of the AWS configuration; by default the one that is set.")]
Region = Annotated[str | None, typer.Option(help="By default the one that is set.")]


def connect(profile: str | None, region: str | None) -> Account:
    try:
        from pumice.deploy.aws.account import Account
    except ModuleNotFoundError as error:
        raise InputError(
            "`pumice deploy` needs the library boto3, which is not installed.",
            fix="Install it: pip install 'pumice[aws]'",
        ) from error
    return Account(profile, region)


def documents() -> Documents:
    from pumice.store.documents import Documents

    return Documents(open_registry()[0].database)


def deployed(name: str) -> tuple[Facts, Account]:
    """What was deployed under this name, and the account that it is in."""
    account = connect(None, "us-east-1")
    from pumice.deploy.aws import deployments

    found = deployments.find(name, documents())
    account = connect(found.profile, found.facts.region)
    return found.facts, account


@aws.command("plan")
def aws_plan(
    model: Annotated[str, typer.Option(help="A registered name@version, or a base as it is.")],
    name: Annotated[str | None, typer.Option(help="Of the deployment; by default the model's.")] = None,
    profile: Profile = None,
    region: Region = None,
    instance: Annotated[str | None, typer.Option(help="By default the cheapest that holds the model.")] = None,
    serverless: Annotated[bool, typer.Option("--serverless", help="No machine; CPU, 6 GB at most.")] = False,
    asynchronous: Annotated[bool, typer.Option("--async", help="Through a queue; no machine while idle.")] = False,
    image: Annotated[str | None, typer.Option(help="An image with Pumice in it, instead of AWS's own.")] = None,
    email: Annotated[str, typer.Option(help="Who is told of alarms and the budget.")] = "",
    out: Annotated[Path, typer.Option(help="Where the plan is written.")] = Path("plan.json"),
) -> None:
    """Say what a deployment would be and cost. Changes nothing; writes the file that apply takes."""
    account = connect(profile, region)
    from pumice import show_deploy
    from pumice.deploy.aws import plan as plans

    if serverless and asynchronous:
        raise typer.BadParameter("--serverless and --async do not go together: a serverless endpoint has no queue.")
    registry, home = open_registry()
    wanted = plans.Wanted(
        model,
        name or show_deploy.name_for(model),
        "serverless" if serverless else "async" if asynchronous else "real-time",
        instance,
        image,
        email=email,
    )
    made = plans.make(wanted, account, registry, home)
    plans.save(made, out)
    show_deploy.plan(made, out)


@aws.command("apply")
def aws_apply(
    plan: Annotated[Path, typer.Argument(help="What `pumice deploy aws plan` wrote.")], as_json: Json = False
) -> None:
    """Make what a plan says. Interrupted, run it again; failed, it takes back what it made."""
    connect(None, "us-east-1")
    from pumice import show, show_deploy
    from pumice.deploy.aws import apply
    from pumice.deploy.aws import plan as plans

    found = plans.load(plan)
    registry, home = open_registry()
    try:
        made = apply.apply(found, connect(found.profile, found.facts.region), registry, home, show.say)
    except KeyboardInterrupt:
        show.say(f"Interrupted. Go on with it: pumice deploy aws apply {plan}")
        raise
    show_deploy.made(found, made, as_json)


@aws.command("status")
def aws_status(name: Deployed, as_json: Json = False) -> None:
    """What runs, and what it was asked."""
    facts, account = deployed(name)
    from pumice import show_deploy
    from pumice.deploy.aws.account import heard
    from pumice.deploy.aws.watch import status

    with heard():
        show_deploy.status(facts, status(facts, account), as_json)


@aws.command("logs")
def aws_logs(name: Deployed, minutes: Annotated[int, typer.Option(min=1, help="How far back.")] = 60) -> None:
    """What gateway and container wrote of late."""
    facts, account = deployed(name)
    from pumice import show
    from pumice.deploy.aws.account import heard
    from pumice.deploy.aws.watch import logs

    with heard():
        count = logs(facts, account, datetime.now(UTC) - timedelta(minutes=minutes), typer.echo)
    show.say(f"{count} lines of the last {minutes} minutes.")


@aws.command("invoke")
def aws_invoke(name: Deployed, question: str) -> None:
    """Ask the endpoint, with your own AWS credentials."""
    facts, account = deployed(name)
    from pumice.deploy.aws.account import heard
    from pumice.deploy.aws.watch import invoke

    with heard():
        typer.echo(invoke(facts, account, question))


@aws.command("destroy")
def aws_destroy(
    name: Deployed,
    endpoint_only: Annotated[
        bool, typer.Option("--endpoint-only", help="Keep the API, which costs by the request alone.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a deployment, and look whether anything of it is left."""
    facts, account = deployed(name)
    from pumice import show, show_deploy
    from pumice.deploy.aws import deployments, destroy
    from pumice.deploy.aws.account import heard
    from pumice.deploy.aws.stacks import Stack

    if not yes:
        typer.confirm(f"Delete {name} in {facts.region}, with its request log, for ever?", abort=True, err=True)
    with heard():
        if endpoint_only:
            Stack(account.client("cloudformation"), facts.endpoint_stack).delete(show.say)
            show.say(f"The endpoint of {name} is gone. Its API stays and answers 503 until a plan is applied again.")
            return
        gone = destroy.destroy(facts, account, show.say)
    deployments.forget(name, documents())
    show_deploy.destroyed(name, gone)
