"""Registered models."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pumice.cli.shared import Json, open_registry
from pumice.records import Stage

if TYPE_CHECKING:
    from pumice.config import Home

app = typer.Typer(
    help="Registered models: list, show, stage, export, import, push, pull, delete, catalogue.", no_args_is_help=True
)

Format = Literal["safetensors", "gguf-f16", "gguf-q8_0", "gguf-q4_0"]


@app.command("list")
def models_list(as_json: Json = False) -> None:
    """Every registered version."""
    from pumice import show

    registry, _ = open_registry()
    models = registry.list()
    if as_json:
        show.document([show.model_document(model) for model in models])
    else:
        show.models(models)


@app.command("show")
def models_show(model: str, as_json: Json = False) -> None:
    """Lineage, scores and card of one version."""
    from pumice import show

    registry, _ = open_registry()
    found = registry.find(model)
    if as_json:
        show.document(show.model_document(found))
    else:
        show.model(found)


@app.command("stage")
def models_stage(model: str, stage: Stage) -> None:
    """Say what a version is trusted with."""
    from pumice import show

    show.say(f"{open_registry()[0].set_stage(model, stage).id} is {stage} now.")


@app.command("export")
def models_export(
    model: str,
    format: Annotated[Format, typer.Option(help="What to write.")] = "gguf-q8_0",
    out: Annotated[Path | None, typer.Option(help="Where to; by default a name made from model and format.")] = None,
    as_json: Json = False,
) -> None:
    """Write a model as merged safetensors or GGUF, and measure how far the export differs from it."""
    from pumice import show
    from pumice.engine.pool import Pool
    from pumice.registry.export import export
    from pumice.registry.start import base_of

    registry, home = open_registry()
    found = registry.find(model)
    suffix = "" if format == "safetensors" else ".gguf"
    target = out or Path(f"{found.name}-{found.version}-{format.removeprefix('gguf-')}{suffix}")

    async def work() -> Any:
        async with Pool(home.cache, serving=home.serving) as pool:
            return await export(found, base_of(found, registry, home), format, target, pool, registry)

    result = asyncio.run(work())
    if as_json:
        show.document(result)
    else:
        show.exported(result)


@app.command("import")
def models_import(
    folder: Annotated[
        str, typer.Argument(help="A whole model or an adapter: a folder, or s3:// in AWS with what a job left there.")
    ],
    name: Annotated[str, typer.Option("--name", help="Name to register under.")],
    base: Annotated[
        str | None, typer.Option("--base", help="What it was made from; by default what its own files say.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register weights that were made elsewhere; they answer under their name at once."""
    from pumice import show
    from pumice.registry.imports import import_model

    registry, home = open_registry()
    if folder.startswith("s3://"):
        with fetched(folder, home) as local:
            found = import_model(local, name, registry, home, None, base)
    else:
        found = import_model(Path(folder), name, registry, home, None, base)
    if as_json:
        show.document(show.model_document(found))
    else:
        show.say(f"{found.id} is registered. Talk to it: pumice chat {found.id}")


@contextmanager
def fetched(uri: str, home: Home) -> Iterator[Path]:
    """What lies there in AWS, as a folder for a while."""
    from pumice.cli.deploy import connect

    account = connect(None, None)
    from pumice.deploy.aws.fetch import fetch

    home.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.cache) as folder:
        yield fetch(uri, account, Path(folder))


@app.command("push")
def models_push(
    model: Annotated[str, typer.Argument(help="A version: name@version.")],
    bucket: Annotated[str, typer.Option(help="S3 bucket in AWS that its files go to.")],
    to: Annotated[Literal["sagemaker"], typer.Option(help="Where to.")] = "sagemaker",
) -> None:
    """Put a version into SageMaker's model registry with scores and lineage; pushed again, tell it the stage here."""
    from pumice import show
    from pumice.cli.deploy import connect

    account = connect(None, None)
    from pumice.deploy.aws.account import heard
    from pumice.deploy.aws.packages import push

    registry, home = open_registry()
    with heard():
        show.say(push(registry.find(model), bucket, account, registry, home, show.say))


@app.command("pull")
def models_pull(name: Annotated[str, typer.Argument(help="A model's name.")]) -> None:
    """Take over what was approved in SageMaker's model registry: approved is production, rejected is archived."""
    from pumice import show
    from pumice.cli.deploy import connect

    account = connect(None, None)
    from pumice.deploy.aws.account import heard
    from pumice.deploy.aws.packages import pull

    with heard():
        changed = pull(name, account, open_registry()[0])
    for each in changed:
        show.say(f"{each.id} is {each.stage} now.")
    if not changed:
        show.say("Nothing has changed there.")


@app.command("delete")
def models_delete(
    model: Annotated[str, typer.Argument(help="A version: name@version.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a version, its record and its files, for ever."""
    from pumice import show

    registry, _ = open_registry()
    found = registry.find(model)
    if not yes:
        typer.confirm(f"Delete {found.id}, made {show.when(found.created)}, for ever?", abort=True, err=True)
    show.say(f"{registry.delete(model).id} is deleted.")


@app.command("catalogue")
def models_catalogue(as_json: Json = False) -> None:
    """Known base models, and what this machine can do with each. Any other Hugging Face id works too."""
    from pumice import show
    from pumice.bases.catalogue import CATALOGUE
    from pumice.train import sizes

    rows = [sizes.abilities(entry, sizes.machine()) for entry in CATALOGUE]
    if as_json:
        show.document([row.to_json() for row in rows])
    else:
        show.catalogue(rows)
