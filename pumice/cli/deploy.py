"""Models on machines that are rented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.shared import Json, Setting, Source, open_registry, overrides_of, recipe_of
from pumice.errors import ConflictError, InputError

if TYPE_CHECKING:
    from pumice.deploy.aws.account import Account
    from pumice.deploy.aws.facts import Facts
    from pumice.deploy.aws.plan import Plan
    from pumice.store.documents import Documents

app = typer.Typer(help="Put a model on machines that are rented.", no_args_is_help=True)
aws = typer.Typer(help="On AWS: plan, apply, status, logs, invoke, ab, train, destroy.", no_args_is_help=True)
app.add_typer(aws, name="aws")

Deployed = Annotated[str, typer.Argument(metavar="NAME", help="The deployment's name.")]
Profile = Annotated[str | None, typer.Option(help="Of the AWS configuration; by default the one that is set.")]
Region = Annotated[str | None, typer.Option(help="By default the one that is set.")]


def need_boto3() -> None:
    if find_spec("boto3") is None:
        raise InputError(
            "AWS needs the library boto3, which is not installed.", fix="Install it: pip install 'pumice[aws]'"
        )


def connect(profile: str | None, region: str | None) -> Account:
    need_boto3()
    from pumice.deploy.aws.account import Account

    return Account(profile, region)


def new_facts(name: str, account: Account) -> Facts:
    """Of what has no endpoint: it has a bucket and a name all the same."""
    from pumice.deploy.aws import deployments

    store = documents()
    facts = deployments.facts_for(name, account, store)
    deployments.keep_new(facts, account, store)
    return facts


def documents() -> Documents:
    from pumice.store.documents import Documents

    return Documents(open_registry()[0].database)


def deployed(name: str) -> tuple[Facts, Account]:
    """What was deployed under this name, and the account that it is in."""
    need_boto3()
    from pumice.deploy.aws import deployments

    found = deployments.find(name, documents())
    return found.facts, connect(found.profile, found.facts.region)


@aws.command("plan")
def aws_plan(
    model: Annotated[str, typer.Option(help="A registered name@version, several over one base (a@1,a@2), or a base.")],
    name: Annotated[str | None, typer.Option(help="Of the deployment; by default the model's.")] = None,
    profile: Profile = None,
    region: Region = None,
    instance: Annotated[str | None, typer.Option(help="By default the cheapest that holds the model.")] = None,
    serverless: Annotated[bool, typer.Option("--serverless", help="No machine; CPU, 6 GB at most.")] = False,
    asynchronous: Annotated[
        bool | None,
        typer.Option("--async/--real-time", help="Through a queue, no machine while idle; or at once, the default."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="An image with Pumice in it, instead of AWS's own.")] = None,
    email: Annotated[str, typer.Option(help="Who is told of alarms and the budget.")] = "",
    out: Annotated[Path, typer.Option(help="Where the plan is written.")] = Path("plan.json"),
) -> None:
    """Say what a deployment would be and cost. Changes nothing; writes the file that apply takes."""
    account = connect(profile, region)
    from pumice import show_deploy
    from pumice.deploy.aws import plan as plans

    if serverless and asynchronous is not None:
        raise typer.BadParameter("Choose one of --real-time, --serverless and --async.")
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
    show_deploy.plan(made)
    show_deploy.unchanged(out)


@aws.command("apply")
def aws_apply(
    plan: Annotated[Path, typer.Argument(help="What `pumice deploy aws plan`, or `train --out`, wrote.")],
    as_json: Json = False,
) -> None:
    """Make what a plan says. Interrupted, run it again; failed, it takes back what it made."""
    need_boto3()
    from pumice import show, show_deploy
    from pumice.deploy.aws import apply, training_plan

    found = training_plan.load(plan)
    registry, home = open_registry()
    account = connect(found.profile, found.facts.region)
    try:
        if isinstance(found, training_plan.TrainingPlan):
            show_deploy.trained(training_plan.start(found, account, registry, home, show.say))
            return
        made = apply.apply(found, account, registry, home, show.say)
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
def aws_invoke(
    name: Deployed,
    question: str,
    version: Annotated[str | None, typer.Option(help="Of several over one base; by default the first.")] = None,
) -> None:
    """Ask the endpoint, with your own AWS credentials."""
    facts, account = deployed(name)
    from pumice import show
    from pumice.deploy.aws.account import heard
    from pumice.deploy.aws.invoke import invoke

    with heard():
        for piece in invoke(facts, account, question, show.say, version):
            typer.echo(piece, nl=False)
    typer.echo()


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


def beside(facts: Facts, account: Account, candidate: str, weight: int) -> Plan:
    """What is deployed, with a candidate next to it."""
    from pumice.deploy.aws import deployments
    from pumice.deploy.aws import plan as plans

    registry, home = open_registry()
    image = deployments.find(facts.name, documents()).image
    model, instance = facts.variants[0].model, facts.instance or None
    wanted = plans.Wanted(model, facts.name, facts.mode, instance, image, candidate, weight, facts.email)
    return plans.make(wanted, account, registry, home)


@aws.command("ab")
def aws_ab(
    name: Deployed,
    candidate: Annotated[str | None, typer.Option(help="A version to put beside the model.")] = None,
    weight: Annotated[
        int | None, typer.Option(min=0, max=100, help="Percent of the requests that go to the candidate.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=30, help="How far back the log is read.")] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Start a comparison (--candidate), shift it (--weight), or say what it shows: better, worse or undecided."""
    facts, account = deployed(name)
    from pumice import show, show_deploy
    from pumice.deploy.aws import ab, apply
    from pumice.deploy.aws.account import heard

    if not facts.variants:
        raise ConflictError(
            f"{name} has no endpoint.", fix="Plan one and apply it: pumice deploy aws plan --model NAME"
        )
    ab.check_shape(facts)
    if candidate:
        made = beside(facts, account, candidate, 10 if weight is None else weight)
        show_deploy.plan(made)
        if not yes:
            typer.confirm("Make it?", abort=True, err=True)
        show_deploy.made(made, apply.apply(made, account, *open_registry(), show.say), as_json)
        return
    with heard():
        if weight is not None:
            shares = ab.shift(facts, account, weight)
            show.say(", ".join(f"{key}: {share:.0%}" for key, share in shares.items()))
            return
        result = ab.compare(facts, account, datetime.now(UTC) - timedelta(days=days))
    show_deploy.compared(result, as_json)


@aws.command("train")
def aws_train(
    source: Source,
    profile: Profile = None,
    region: Region = None,
    instance: Annotated[str, typer.Option(help="SageMaker's machine.")] = "ml.g5.xlarge",
    instances: Annotated[int, typer.Option(min=1, help="How many of them share each step.")] = 1,
    spot: Annotated[bool, typer.Option("--spot", help="Cheaper; interrupted and resumed as AWS needs it.")] = False,
    fsx: Annotated[str | None, typer.Option(help="Data on FSx for Lustre: FILE-SYSTEM:/PATH@SUBNET,GROUP.")] = None,
    serverless: Annotated[
        str | None, typer.Option(help="ARN of a base in SageMaker's hub: AWS trains it with its own loop.")
    ] = None,
    setting: Setting = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan there and start nothing; apply starts it.")] = None,
) -> None:
    """Train a recipe on SageMaker and register what comes back: the plan first, then a question.

    Interrupted, run it again: it follows the same job.
    """
    account = connect(profile, region)
    from pumice import show, show_deploy
    from pumice.deploy.aws import plan as plans
    from pumice.deploy.aws import prices, training, training_plan

    registry, home = open_registry()
    recipe = recipe_of(source, overrides_of(None, None, setting))
    options = training.options(prices.find(instance, prices.machines(home.root)), instances, spot, fsx, serverless)
    deployment = show_deploy.name_for(recipe.name or Path(recipe.data).stem)
    made = training_plan.make(recipe, deployment, options, account, registry, home)
    show_deploy.training(made)
    if out:
        plans.save(made, out)
        show_deploy.unchanged(out)
        return
    typer.confirm("Train there?", abort=True, err=True)
    show_deploy.trained(training_plan.start(made, account, registry, home, show.say))


@aws.command("bedrock-import")
def aws_bedrock_import(
    model: Annotated[str, typer.Argument(help="A registered name@version, or a base.")],
    name: Annotated[str | None, typer.Option(help="Of the deployment; by default the model's.")] = None,
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Import a model into Bedrock: no machine, and no cost while nobody asks but its storage."""
    account = connect(profile, region)
    from pumice import show, show_deploy
    from pumice.deploy.aws import bedrock
    from pumice.deploy.aws.account import heard

    registry, home = open_registry()
    with heard():
        facts = new_facts(name or show_deploy.name_for(model), account)
        arn = bedrock.bring(model, facts, account, registry, home, show.say)
    show.say(f"Bedrock answers with {arn}. Remove it: pumice deploy aws destroy {facts.name}")


@aws.command("smoke")
def aws_smoke(
    plan: Annotated[Path, typer.Argument(help="Of a small model; it is made, asked and removed.")],
    ab: Annotated[bool, typer.Option("--ab", help="A second variant too; it needs a second machine.")] = False,
    train: Annotated[Path | None, typer.Option(help="Train on this file there too, on the plan's machine.")] = None,
    bedrock: Annotated[bool, typer.Option("--bedrock", help="Import the model into Bedrock too.")] = False,
) -> None:
    """Prove on a real account what no test can: make a plan true, ask through every door, take it away."""
    need_boto3()
    from pumice import show, show_deploy
    from pumice.deploy.aws import apply, deployments, prices, smoke, training, training_plan
    from pumice.deploy.aws import plan as plans
    from pumice.deploy.aws.ab import check_shape

    found = plans.load(plan)
    facts, model = found.facts, found.facts.variants[0].model
    if ab:
        check_shape(facts)
    if train and not facts.instance:
        raise typer.BadParameter("--train needs a machine: plan the deployment with --real-time.")
    account = connect(found.profile, facts.region)
    made = apply.apply(found, account, *open_registry(), show.say)
    names = [facts.name]
    try:
        smoke.smoke(facts, made, account, show.say)
        if ab:
            two = beside(facts, account, model, 50)
            smoke.shifted(two.facts, apply.apply(two, account, *open_registry(), show.say), account, show.say)
        if bedrock:
            aws_bedrock_import(model, facts.name, found.profile, facts.region)
            smoke.imported(facts, account, show.say)
        if train:
            names.append(f"{facts.name[:14]}-smoke")
            registry, home = open_registry()
            machine = prices.find(facts.instance, prices.machines(home.root))
            options, recipe = (
                training.options(machine, 1, False, None, None),
                recipe_of(str(train), {"name": names[-1]}),
            )
            there = training_plan.make(recipe, names[-1], options, account, registry, home)
            show_deploy.trained(training_plan.start(there, account, registry, home, show.say))
    finally:
        # A training that was refused at once has left nothing to destroy.
        for name in names:
            if documents().find(deployments.KIND, name):
                aws_destroy(name, yes=True)
