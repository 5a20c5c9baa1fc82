"""API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from pumice.cli.shared import Json, open_identity
from pumice.records import Role

app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)


@app.command("create")
def keys_create(
    name: str, role: Annotated[Role, typer.Option(help="What it may do.")] = Role.INVOKE, as_json: Json = False
) -> None:
    """Make an API key; its secret is shown once."""
    from pumice import show

    key, secret = open_identity().create(name, role)
    if as_json:
        show.document({"id": key.id, "name": key.name, "role": key.role, "secret": secret})
    else:
        typer.echo(f"OPENAI_API_KEY={secret}")
        show.say(f"Key {key.id} ({key.name}, {key.role}). The secret is not kept: copy it now.")


@app.command("list")
def keys_list(as_json: Json = False) -> None:
    """Every key, without its secret."""
    from pumice import show

    keys = open_identity().list()
    if as_json:
        show.document([show.key_document(key) for key in keys])
    else:
        show.keys(keys)


@app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="Its id or name.")]) -> None:
    """Make a key useless from now on."""
    from pumice import show

    revoked = open_identity().revoke(key)
    show.say(f"Key {revoked.id} ({revoked.name}) is revoked.")
