"""Registered models."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pumice.cli.shared import Json, open_registry
from pumice.records import Stage

app = typer.Typer(help="Registered models: list, show, export, stage, catalogue.", no_args_is_help=True)

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
        async with Pool(home.cache) as pool:
            return await export(found, base_of(found, registry, home), format, target, pool, registry)

    result = asyncio.run(work())
    if as_json:
        show.document(result)
    else:
        show.exported(result)


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
