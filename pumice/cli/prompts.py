"""Prompting: what a base gets with shots and without, and the templates for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pumice.cli.shared import BaseModel, Json, find_start, open_registry

if TYPE_CHECKING:
    from pumice.prompting.report import Prompting
    from pumice.prompting.templates import Template
    from pumice.store.documents import Documents

app = typer.Typer()
templates_app = typer.Typer(help="Prompt templates: add, list, show.", no_args_is_help=True)

Task = Literal["qa", "summarise", "classify", "translate"]


def documents_of() -> Documents:
    from pumice.store.documents import Documents

    return Documents(open_registry()[0].database)


def variables_of(settings: list[str] | None) -> dict[str, str]:
    given = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"--var {setting}: write KEY=VALUE, as in --var target_language=German.")
        given[key] = value
    return given


def counts_of(shots: str) -> list[int]:
    counts = [part.strip() for part in shots.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in counts):
        raise typer.BadParameter(f"--shots {shots}: write numbers with commas between them, as in --shots 0,1,5.")
    return [int(part) for part in counts]


@app.command()
def prompt(
    data: Annotated[str, typer.Argument(help="Questions with answers, here or in s3://: instruction or chat data.")],
    task: Annotated[Task | None, typer.Option(help="A ready template; by default qa.")] = None,
    template: Annotated[
        str | None, typer.Option(help="Your own instead: a file that ends in .jinja, name, or name@version.")
    ] = None,
    shots: Annotated[str, typer.Option(help="How many examples stand before a question; 0 is always asked.")] = "0,1,5",
    validation: Annotated[
        str | None, typer.Option(help="Questions to ask, by default the rows that a run would hold out.")
    ] = None,
    model: BaseModel = None,
    var: Annotated[list[str] | None, typer.Option(help="A template's variable: --var target_language=German.")] = None,
    as_json: Json = False,
) -> None:
    """Measure what prompting gets without tuning, on the questions that a tuned model is measured on."""
    from pumice import show
    from pumice.data.checks import load
    from pumice.data.kept import kept_in
    from pumice.engine.pool import Pool
    from pumice.prompting import report as reports
    from pumice.prompting.kept import keep
    from pumice.prompting.run import prompting
    from pumice.prompting.templates import find
    from pumice.store.documents import Documents
    from pumice.store.s3 import Objects

    if task and template:
        raise typer.BadParameter("--task and --template both name a template; give one of them.")
    counts, variables = counts_of(shots), variables_of(var)
    registry, home = open_registry()
    documents = Documents(registry.database)
    objects, chosen = Objects(home.s3), find(template or task or "qa", documents)
    kept = kept_in(home)
    asked = load(objects.locate(validation), validation, kept) if validation else None
    dataset, story = load(objects.locate(data), data, kept), show.Story()

    async def work() -> Prompting:
        async with Pool(home.cache, serving=home.serving) as pool:
            start = find_start(model, home)
            return await prompting(start, dataset, asked, chosen, counts, variables, pool, story.tell)

    found = asyncio.run(work())
    story.end_bar()
    keep(found, documents)
    if as_json:
        show.document(reports.to_json(found))
        return
    columns = ["shots", "exact match", "token F1", "ROUGE-L", "prompt tokens"]
    show.table("", columns, reports.table(found), numbers=5)
    for line in (*reports.cuts(found), reports.sentence(found)):
        show.say(line)


@templates_app.command("add")
def prompts_add(
    name: Annotated[str, typer.Argument(help="Name to keep it under.")],
    file: Annotated[Path, typer.Argument(help="A Jinja template.")],
    as_json: Json = False,
) -> None:
    """Keep a template as the next version of a name; the same text again keeps its version."""
    from pumice import show
    from pumice.prompting.templates import add, read

    found, new = add(name, read(file, str(file)), documents_of())
    if as_json:
        show.document(document_of(found))
    else:
        show.say(f"{found.name} {'is kept' if new else 'is this text already'}. Ask with it: --template {found.name}")


@templates_app.command("list")
def prompts_list(as_json: Json = False) -> None:
    """Every template: those that ship with Pumice, and every version of yours."""
    from pumice import show
    from pumice.prompting.templates import kept, shipped

    found = [*shipped(), *kept(documents_of())]
    if as_json:
        show.document([document_of(each) for each in found])
        return
    rows = [
        (
            each.name,
            show.when(each.created) if each.created else "ships with Pumice",
            ", ".join(sorted(each.prompt.variables)),
            each.sha256[:12],
        )
        for each in found
    ]
    show.table("", ["template", "made", "variables", "sha256"], rows)


@templates_app.command("show")
def prompts_show(
    name: Annotated[str, typer.Argument(help="A task, name, or name@version; without a version the newest.")],
    as_json: Json = False,
) -> None:
    """Print a template: pumice prompts show qa > mine.jinja is where your own begins."""
    from pumice import show
    from pumice.prompting.templates import find

    found = find(name, documents_of())
    if as_json:
        show.document(document_of(found))
    else:
        typer.echo(found.text, nl=False)


def document_of(template: Template) -> dict[str, object]:
    variables = sorted(template.prompt.variables)
    facts = {"name": template.name, "sha256": template.sha256, "variables": variables}
    return {**facts, "created": template.created, "text": template.text}
