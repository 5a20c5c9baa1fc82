"""Writes the tables of docs/aws.md from the code: `python scripts/write_aws_tables.py`. A test holds them true."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from pumice.api.aws import app
from pumice.api.aws.bedrock.hyperparameters import PARAMETERS, PREFIX, REFUSED
from pumice.api.aws.s3.app import SUBRESOURCES
from pumice.api.aws.services import BY_SIGNING_NAME
from pumice.api.aws.wire import AwsService

PAGE = Path(__file__).parents[1] / "docs" / "aws.md"


def operations() -> Iterator[str]:
    """What each service serves, a line a module of `pumice/api/aws`."""
    assert app.HANDLERS, "importing the packages is what fills the services"
    yield "| service | signed as | served | operations, by module of `pumice/api/aws` |"
    yield "|---|---|--:|---|"
    for name, services in BY_SIGNING_NAME.items():
        for service in services:
            count = f"{len(service.handlers)} of {len(service.operations)}"
            yield f"| {service.name} | `{name}` | {count} | {'<br>'.join(_by_module(service)) or 'none yet'} |"


def _by_module(service: AwsService) -> Iterator[str]:
    modules: dict[str, list[str]] = defaultdict(list)
    for name, handler in service.handlers.items():
        modules[handler.__module__.removeprefix("pumice.api.aws.")].append(name)
    for module, names in sorted(modules.items()):
        yield f"**{module}** {', '.join(sorted(names))}"


def hyperparameters() -> Iterator[str]:
    """Bedrock's names, the recipe's keys for them and their rules."""
    yield "| `hyperParameters` | key of a recipe | rule |"
    yield "|---|---|---|"
    for name, parameter in PARAMETERS.items():
        yield f"| `{name}` | `{parameter.key}` | {parameter.rule} |"
    yield f"| `{PREFIX}KEY` | any other key | as in a recipe |"
    for name, instead in REFUSED.items():
        yield f"| `{name}` | | refused. {instead} |"


def subresources() -> Iterator[str]:
    """What S3 answers with 501."""
    yield ", ".join(f"`{name}`" for name in sorted(SUBRESOURCES)) + "."


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "operations": operations,
    "hyperparameters": hyperparameters,
    "subresources": subresources,
}


def page(text: str) -> str:
    """The page with its tables as they are now; each stands between two comments with its name."""
    for name, table in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        assert place.search(text), f"{PAGE.name} has no place for the table {name}"
        content = "\n".join(table())
        text = place.sub(lambda found, content=content: f"{found[1]}\n{content}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
