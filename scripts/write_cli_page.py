"""Writes docs/commands.md from the commands themselves: `python scripts/write_cli_page.py`. A test holds it true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer.main
from typer.core import TyperCommand, TyperGroup

from pumice.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
HEAD = """# Commands

Exit codes: 0 fine, 1 your input is at fault, 2 the command line is, 130 stopped by ctrl-C. `--json` prints one JSON
document on stdout; progress and messages go to stderr.

These variables are all the settings that there are. They are read when a command starts.

| variable | meaning |
|---|---|
| `PUMICE_HOME` | the folder that holds everything; by default `~/.pumice`. Two homes never touch each other |
| `PUMICE_DATABASE` | where the records are: `postgresql://user:password@host/name`; by default SQLite in the home |
| `PUMICE_HOST` | where `pumice serve` listens; by default `127.0.0.1` |
| `PUMICE_PORT` | and on which port; by default `8080` |
| `PUMICE_SECRET_KEY` | what encrypts signing secrets where servers share records; by default the file `secret.key` |
| `PUMICE_ENGINE` | `llama.cpp`, `transformers`, `vllm` or a URL; by default [the files decide](serving-engines.md) |
| `PUMICE_ENGINE_KEY` | the bearer key that the server behind such a URL asks for |
| `PUMICE_QUANT` | precision of the weights on llama.cpp: `q8_0` (default), `q4_0`, `f16` or `f32` |
| `PUMICE_IDLE_SECONDS` | an engine ends when nobody asked it for so long; by default `900`, `0` keeps it |
| `PUMICE_LOG_DAYS` | how many days the request log keeps a request; by default as the console says, or `30` |
| `PUMICE_LOG_BODIES` | `1`: the request log keeps what was asked and answered, too; by default it does not |
"""


def commands(command: TyperCommand | TyperGroup, path: str) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    """Every command that does something, with the words that call it."""
    if isinstance(command, TyperGroup):
        for name, each in command.commands.items():
            yield from commands(each, f"{path} {name}")
    else:
        yield path, command


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path, command in commands(typer.main.get_command(app), "pumice"):
        context = command.context_class(command, info_name=path, terminal_width=100, max_content_width=100)
        parts.append(f"## {path}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
