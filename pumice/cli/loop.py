"""The loop: check, run, train, evaluate, quickstart."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import typer

from pumice import config
from pumice.cli.shared import (
    BaseModel,
    Json,
    Name,
    Setting,
    Source,
    Yes,
    dry_run_of,
    find_start,
    open_registry,
    overrides_of,
    run_job,
)

app = typer.Typer()


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="The data file, here or in s3://.")],
    model: BaseModel = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens a row may have; by default the model's window.")
    ] = None,
    too_long: Annotated[
        Literal["error", "drop", "truncate", "split"] | None,
        typer.Option(help="For longer rows; by default split for text, else error."),
    ] = None,
    validation: Annotated[str | None, typer.Option(help="A second file, checked for leakage.")] = None,
    as_json: Json = False,
) -> None:
    """Check a data file before anything is paid for: errors, lengths, duplicates, a rendered sample."""
    from pumice import show
    from pumice.data import checks
    from pumice.data.render import Renderer
    from pumice.store.s3 import Objects

    home = config.read_environment().home
    objects, start = Objects(home.s3), find_start(model, home)
    other = objects.locate(validation) if validation else None
    renderer = Renderer(start.base.folder)
    found = checks.check(
        objects.locate(data), renderer, max_length, too_long, other, name=data, validation_name=validation or ""
    )
    if as_json:
        show.document(found.to_json())
    else:
        show.check(found)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def run(
    source: Source,
    name: Name = None,
    model: BaseModel = None,
    settings: Setting = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Check, train, evaluate and register: the whole way from a file to a model that answers."""
    run_job("run", source, overrides_of(name, model, settings), as_json, yes)


@app.command()
def train(
    source: Source,
    name: Name = None,
    model: BaseModel = None,
    settings: Setting = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen, and what it takes.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Check, train and register, without the evaluation."""
    if dry_run:
        dry_run_of(source, overrides_of(name, model, settings), as_json)
    else:
        run_job("train", source, overrides_of(name, model, settings), as_json, yes)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A registered model: name or name@version.")],
    data: Annotated[
        str | None, typer.Option(help="Questions with answers; by default the model's own held-out set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a registered model with its base on the same questions."""
    from pumice import show
    from pumice.evaluate import report as reports
    from pumice.prompting.kept import beside_model
    from pumice.registry.again import compare
    from pumice.store.documents import Documents

    registry, home = open_registry()
    story = show.Story()
    report = asyncio.run(compare(model, data, registry, home, story.tell))
    story.end_bar()
    if as_json:
        show.document({"model": registry.find(model).id, "report": reports.to_json(report)})
    else:
        show.comparison(report)
        if line := beside_model(registry.find(model), data, report, home, Documents(registry.database)):
            show.say(f"   {line}")


@app.command()
def quickstart(as_json: Json = False) -> None:
    """Fine-tune the default model on Pumice's own handbook, prove it, and say what to try next."""
    from pumice import handbook, show

    show.say("Pumice quickstart: a 135M model learns the handbook of Pumice itself, on this machine, offline.")
    model = run_job("run", str(handbook.RECIPE), {}, as_json)
    show.next_steps(model)
