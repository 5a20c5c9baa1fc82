"""Use: chat, serve, doctor."""

from __future__ import annotations

import asyncio
from pathlib import Path
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
    host: Annotated[str | None, typer.Option(help="Where to listen; beyond loopback with a key and TLS only.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Speak HTTPS, with a certificate that is made once.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Speak HTTPS with this certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
) -> None:
    """Answer S3, Bedrock, SageMaker and OpenAI clients on one address, and run their jobs."""
    from pumice.api.certificate import choose
    from pumice.api.serve import serve as serve_api

    settings = config.read_environment()
    address = host or settings.host
    certificate = choose(settings.home.tls, address, tls, tls_cert, tls_key)
    serve_api(settings, address, settings.port if port is None else port, certificate)


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
