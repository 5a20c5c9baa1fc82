"""The 1 % question, asked before a new model is trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pumice import config

if TYPE_CHECKING:
    from pumice.train.recipe import Recipe


def check_answerable(yes: bool) -> None:
    """Raise `InputError` where nobody is there to answer."""
    from pumice.errors import InputError

    if not yes and not sys.stdin.isatty():
        raise InputError(
            "method: pretrain asks before it trains, and here is no terminal to answer at.",
            "It first trains at 1 % of the tokens and says what the whole run would reach and cost.",
            "Say yes beforehand: --yes",
        )


def ask_first(recipe: Recipe, yes: bool, home: config.Home) -> Path:
    """Make the short runs, show what they foretell and ask; the folder of the job that made them.

    Ends the program where the answer is no.
    """
    from pumice import show
    from pumice.cli.shared import open_queue, watched

    queue, _ = open_queue()
    job = watched(queue.submit("probe", recipe.model_dump(mode="json")), home)
    if not yes and not typer.confirm("Train it now?", err=True):
        show.say("Nothing was trained.")
        raise typer.Exit(1)
    return queue.folder(job.id)
