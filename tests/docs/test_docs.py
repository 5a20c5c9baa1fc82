"""What the documents say is so: commands parse, pages are current, links lead somewhere, settings are named."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from pumice import config
from pumice.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ELSEWHERE = {"PUMICE_MODEL"}
"""What has the form of a setting and is none of the server's: a SageMaker container's variable."""
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(pumice [^#\n|]*)", re.MULTILINE)


def written_commands() -> list[tuple[str, str]]:
    """Every `pumice …` line inside a fenced block, with its page."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", page.read_text(), re.DOTALL)
        found += [(page.name, line.strip()) for block in blocks for line in COMMAND.findall(block)]
    return found


@pytest.mark.parametrize(("page", "line"), written_commands())
def test_a_written_command_parses(page: str, line: str) -> None:
    command: TyperCommand | TyperGroup = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: {line}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context("pumice", words)


def test_there_are_commands_to_look_at() -> None:
    assert len(written_commands()) > 10


def test_the_page_of_commands_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "write_cli_page.py"))
    assert made["page"]() == (ROOT / "docs" / "commands.md").read_text(), "run: python scripts/write_cli_page.py"


def test_the_table_of_methods_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "write_methods_page.py"))
    assert made["page"]() == (ROOT / "docs" / "methods.md").read_text(), "run: python scripts/write_methods_page.py"


def test_the_tables_of_aws_are_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "write_aws_tables.py"))
    text = (ROOT / "docs" / "aws.md").read_text()
    assert made["page"](text) == text, "run: python scripts/write_aws_tables.py"


def test_the_table_of_settings_has_every_one_and_no_other() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `(PUMICE_[A-Z_]+)` \|", page, re.MULTILINE)
    read = set(re.findall(r"PUMICE_[A-Z_]+", Path(config.__file__).read_text()))
    assert sorted(rows) == sorted(read)


def test_no_page_names_a_setting_that_is_not_there() -> None:
    read = set(re.findall(r"PUMICE_[A-Z_]+", Path(config.__file__).read_text()))
    for page in PAGES:
        named = set(re.findall(r"\bPUMICE_[A-Z_]*[A-Z]\b", page.read_text()))
        assert named <= read | ELSEWHERE, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
