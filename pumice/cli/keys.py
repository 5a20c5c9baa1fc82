"""API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pumice.cli.shared import Json, open_identity
from pumice.records import Role

if TYPE_CHECKING:
    from pumice.api.identity import NewKey

app = typer.Typer(help="API keys: create, list, limit, revoke.", no_args_is_help=True)


Requests = Annotated[int | None, typer.Option(min=1, help="To models; left out, there is no limit.")]
Tokens = Annotated[
    int | None, typer.Option(min=1, help="Prompt and answer together, by UTC day; left out, there is no limit.")
]


@app.command("create")
def keys_create(
    name: str,
    role: Annotated[
        Role, typer.Option(help="invoke: ask models; train: jobs, files and models too; admin: keys and settings too.")
    ] = Role.INVOKE,
    requests_per_minute: Requests = None,
    tokens_per_day: Tokens = None,
    format: Annotated[Literal["env", "json", "text"], typer.Option(help="What to print on stdout.")] = "env",
) -> None:
    """Make an API key, for both wires; its secrets are shown once."""
    from pumice import show

    made = open_identity().create(name, role, requests_per_minute, tokens_per_day)
    key = made.key
    match format:
        case "env":
            typer.echo("\n".join(f"{variable}={value}" for variable, value in _variables(made).items()))
        case "text":
            rows = {"key": key.id, "name": key.name, "role": key.role, "bearer secret": made.secret}
            pair = {"access key": key.access_key, "signing secret": made.signing_secret}
            typer.echo("\n".join(f"{label:<16}{value}" for label, value in {**rows, **pair}.items()))
        case "json":
            secrets = {"secret": made.secret, "signing_secret": made.signing_secret}
            show.document({**show.key_document(key), **secrets})
    show.say(f"Key {key.id} ({key.name}, {key.role}). Its secrets are not shown again: copy them now.")


def _variables(made: NewKey) -> dict[str, str]:
    """What clients of either wire read from their environment."""
    return {
        "AWS_ACCESS_KEY_ID": made.key.access_key or "",
        "AWS_SECRET_ACCESS_KEY": made.signing_secret,
        "OPENAI_API_KEY": made.secret,
    }


@app.command("list")
def keys_list(as_json: Json = False) -> None:
    """Every key with its role and limits, without its secrets."""
    from pumice import show

    keys = open_identity().list()
    if as_json:
        show.document([show.key_document(key) for key in keys])
    else:
        show.keys(keys)


@app.command("limit")
def keys_limit(
    key: Annotated[str, typer.Argument(help="Its id or name.")],
    requests_per_minute: Requests = None,
    tokens_per_day: Tokens = None,
) -> None:
    """Give a key another budget in place of the one it has. What it has used of this day stays used."""
    from pumice import show

    limited = open_identity().limit(key, requests_per_minute, tokens_per_day)
    limits = (limited.requests_per_minute, "requests a minute"), (limited.tokens_per_day, "tokens a day")
    words = " and ".join(f"{count:,} {what}" for count, what in limits if count) or "as much as it wants"
    show.say(f"Key {limited.id} ({limited.name}) may ask {words}.")


@app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="Its id or name.")]) -> None:
    """Make a key useless from now on."""
    from pumice import show

    revoked = open_identity().revoke(key)
    show.say(f"Key {revoked.id} ({revoked.name}) is revoked.")
