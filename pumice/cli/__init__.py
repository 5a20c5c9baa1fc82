"""The command line: one function a command. Reads the environment, calls the rooms, prints; decides nothing itself.

The one place besides `jobs.worker` that imports late, so that `pumice --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pumice import __version__
from pumice.cli.deploy import app as deploy_app
from pumice.cli.jobs import app as jobs_app
from pumice.cli.keys import app as keys_app
from pumice.cli.loop import app as loop_app
from pumice.cli.models import app as models_app
from pumice.cli.prompts import app as prompt_app
from pumice.cli.prompts import templates_app
from pumice.cli.recipes import app as recipes_app
from pumice.cli.recipes import recipe_app
from pumice.cli.use import app as use_app
from pumice.errors import PumiceError

app = typer.Typer(
    name="pumice",
    help="Fine-tune, evaluate and serve your own language model on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(loop_app)
app.add_typer(prompt_app)
app.add_typer(recipes_app)
app.add_typer(use_app)
app.add_typer(recipe_app, name="recipe")
app.add_typer(models_app, name="models")
app.add_typer(templates_app, name="prompts")
app.add_typer(jobs_app, name="jobs")
app.add_typer(keys_app, name="keys")
app.add_typer(deploy_app, name="deploy")


def main() -> None:
    """The `pumice` command. Exit code 0: fine; 1: the user's input is at fault; 2: the command line is."""
    try:
        app()
    except PumiceError as error:
        from pumice import show

        show.failure(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(f"pumice {__version__}")
        raise typer.Exit


@app.callback()
def pumice(
    show_version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Fine-tune, evaluate and serve your own language model on this machine."""
