"""A real server with a key and the built console, and Chromium's tests of it; skipped without Node or Chromium."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import browsing
import pytest

from pumice.api.exchange import Exchange
from pumice.api.identity import Identity, NewKey
from pumice.config import Home
from pumice.records import Base, Role
from pumice.store.tables import open_database
from pumice.traffic.log import Log

sys.path.append(str(Path(__file__).parents[1] / "api"))

from live_server import serving

ROLE = "arn:aws:iam::000000000000:role/any"


@dataclass(frozen=True)
class Console:
    """Where the console answers, a key of an admin's, and what lies behind both."""

    url: str
    key: NewKey
    home: Home


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the console's source, with its packages, once it is built."""
    if not browsing.ready():
        pytest.skip("the console is not built: make install builds it where Node is")
    return browsing.WEB


@pytest.fixture(scope="module")
def console(base: Base, session_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A server over an empty home, but for the default base; it asks for a key, and its log keeps words."""
    home = Home(tmp_path_factory.mktemp("console"))
    home.bases.symlink_to(session_home.bases)
    key = Identity(open_database(home.database), home).create("owner", Role.ADMIN)
    with serving(home, bodies=True) as url:
        yield Console(url, key, home)


@pytest.fixture
def past(console: Console) -> None:
    """A request of last week, and an endpoint `shop` over the story's model: `old` weighs 9, `new` 3."""
    log = Log(open_database(console.home.database), timedelta(days=30))
    log.add(Exchange("req-old", datetime.now(UTC) - timedelta(days=8), operation="chat").record(200, bodies=False))
    log.close()
    made = console.key
    keys = {"aws_access_key_id": made.key.access_key, "aws_secret_access_key": made.signing_secret}
    client = boto3.client("sagemaker", endpoint_url=console.url, region_name="us-east-1", **keys)
    weights = {"old": 9, "new": 3}
    container = {"Image": "pumice", "Environment": {"PUMICE_MODEL": "stones@1"}}
    for name in weights:
        client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variants = [
        {"VariantName": name, "ModelName": name, "InitialVariantWeight": weight} for name, weight in weights.items()
    ]
    client.create_endpoint_config(EndpointConfigName="shop", ProductionVariants=variants)
    client.create_endpoint(EndpointName="shop", EndpointConfigName="shop")
    client.get_waiter("endpoint_in_service").wait(EndpointName="shop", WaiterConfig={"Delay": 1, "MaxAttempts": 120})


@pytest.fixture
def browse(console: Console, chromium: str, built: Path) -> Callable[[str], None]:
    """Runs one of the browser's test files against the server."""

    def run(name: str) -> None:
        browsing.browse(name, url=console.url, key=console.key.secret, chromium=chromium)

    return run
