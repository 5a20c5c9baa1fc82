"""A server of its own over two tiny adapters, and boto3 against it, for what changes a server or restarts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import boto3
from botocore.config import Config
from live_server import register, serving, write_adapter

from pumice.api.aws.names import custom_arn
from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base
from pumice.registry.models import Registry
from pumice.store.tables import open_database


@dataclass(frozen=True)
class Models:
    """A home with the adapters `red` and `blue`, and their ARNs."""

    home: Home
    red: str
    blue: str


def make_models(home: Home, tiny: Base, folder: Path) -> Models:
    base = resolve.resolve(str(tiny.folder), home)
    arns = []
    for name, token in (("red", 1000), ("blue", 2000)):
        register(home, base, name, write_adapter(base, token, folder / name))
        arns.append(custom_arn(Registry(open_database(home.database), home).find(name)))
    return Models(home, *arns)


@dataclass(frozen=True)
class Aws:
    """boto3's clients of one server."""

    url: str
    bedrock: Any
    runtime: Any
    s3: Any

    def text(self, model: str) -> str:
        """What a model says, greedily."""
        asked = [{"role": "user", "content": [{"text": "Say it."}]}]
        answer = self.runtime.converse(
            modelId=model, messages=asked, inferenceConfig={"maxTokens": 4, "temperature": 0}
        )
        return str(answer["output"]["message"]["content"][0]["text"])


@contextmanager
def aws(home: Home) -> Iterator[Aws]:
    with serving(home) as url:
        made = [
            boto3.client(
                service,
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id="anything",
                aws_secret_access_key="passes",
                config=Config(retries={"max_attempts": 0}, read_timeout=120, s3={"addressing_style": "path"}),
            )
            for service in ("bedrock", "bedrock-runtime", "s3")
        ]
        yield Aws(url, *made)
        for each in made:
            each.close()


def wait_for(look: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 60) -> Any:
    """Look until it is as wanted; what was seen last is in the failure."""
    end = monotonic() + seconds
    while not wanted(found := look()):
        assert monotonic() < end, found
        sleep(0.02)
    return found
