"""Use: chat, serve, doctor."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from pumice import config
from pumice.cli.shared import Json, open_registry

app = typer.Typer()


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A registered model, or a base.")],
    prompt: Annotated[str | None, typer.Option(help="Ask this, print the answer alone, and end.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1)] = 512,
) -> None:
    """Talk to a model in the terminal."""
    from pumice.engine.contract import Sampling
    from pumice.talk import Conversation, talk

    registry, home = open_registry()
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    asyncio.run(talk(Conversation(model, registry, home, system, sampling), prompt))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to; elsewhere than loopback needs a key.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """Answer the OpenAI API for every registered model."""
    from pumice.api.serve import serve as serve_api

    settings = config.read_environment()
    serve_api(settings.home, host or settings.host, settings.port if port is None else port)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has, what it can train and serve, and what is wrong with the set-up."""
    from pumice import show
    from pumice.doctor import examine

    found = examine(config.read_environment().home)
    if as_json:
        show.document(found.to_json())
    else:
        show.doctor(found)
    if not found.ok:
        raise typer.Exit(1)
