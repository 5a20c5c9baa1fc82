"""A server of its own with a tiny model to train, two adapters that cannot be mistaken, and boto3's clients of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from live_server import register, serving, write_adapter

from pumice.bases import resolve
from pumice.config import Home
from pumice.records import Base

ROLE = "arn:aws:iam::000000000000:role/any"
ROWS = [{"prompt": f"What is {n}?", "completion": f"It is {n}."} for n in range(8)]
# JSON in the values, as SageMaker's SDK writes it, beside plain words.
FAST = {
    "model": '"tiny"',
    "epochs": "2",
    "batch_size": "4",
    "learning_rate": "1e-3",
    "lora": '{"r": 2}',
    "max_length": "128",
    "sagemaker_program": '"train.py"',
}
ENDLESS = {**FAST, "epochs": "100000"}
CLOSELY = {"Delay": 1, "MaxAttempts": 120}
"""For waiters, which look every 30 seconds by themselves."""


@dataclass(frozen=True)
class Sage:
    """One server's clients."""

    url: str
    home: Home
    sm: Any
    runtime: Any
    s3: Any

    def upload(self, key: str, rows: list[Any]) -> str:
        self.s3.put_object(Bucket="data", Key=key, Body="".join(json.dumps(row) + "\n" for row in rows).encode())
        return f"s3://data/{key}"

    def train(self, name: str, uri: str, **more: Any) -> str:
        wanted: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": "pumice", "TrainingInputMode": "File"},
            "HyperParameters": FAST,
            "InputDataConfig": [channel("train", uri)],
            "OutputDataConfig": {"S3OutputPath": "s3://data/out/"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        }
        return str(self.sm.create_training_job(**{**wanted, **more})["TrainingJobArn"])

    def show(self, name: str) -> dict[str, Any]:
        return dict(self.sm.describe_training_job(TrainingJobName=name))

    def wait(self, waiter: str, **named: Any) -> None:
        self.sm.get_waiter(waiter).wait(WaiterConfig=CLOSELY, **named)

    def serve(self, name: str, weights: dict[str, float]) -> None:
        """A configuration `name` whose variants are the models of the same names."""
        self.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants(weights))

    def ask(self, endpoint: str, **more: Any) -> dict[str, Any]:
        """A greedy answer of three tokens: `text`, and which variant gave it."""
        body = {"inputs": "Say it.", "parameters": {"max_new_tokens": 3}}
        got = self.runtime.invoke_endpoint(EndpointName=endpoint, Body=json.dumps(body), **more)
        (told,) = json.loads(got["Body"].read())
        return {"text": told["generated_text"], "variant": got["InvokedProductionVariant"]}


def channel(name: str, uri: str) -> dict[str, Any]:
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}


def variants(weights: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {"VariantName": name, "ModelName": name, "InitialVariantWeight": weight} for name, weight in weights.items()
    ]


def refusal(code: str, act: Any, *given: Any, **named: Any) -> str:
    with pytest.raises(ClientError) as caught:
        act(*given, **named)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return str(caught.value.response["Error"]["Message"])


def make_home(folder: Path, tiny: Base) -> Home:
    """A home with the model `tiny`, and the adapters `red` and `blue` over it."""
    home = Home(folder / "home")
    small = resolve.resolve(str(tiny.folder), home)
    shutil.copytree(small.folder, folder / "tiny")
    register(home, small, "tiny", folder / "tiny", method="full")
    for name, token in (("red", 1000), ("blue", 2000)):
        register(home, small, name, write_adapter(small, token, folder / name))
    return home


@contextmanager
def sagemaker(home: Home) -> Iterator[Sage]:
    """A server over `home` until the end of the block."""
    with serving(home) as url:
        config = Config(retries={"max_attempts": 0}, read_timeout=120, s3={"addressing_style": "path"})
        known = {"region_name": "us-east-1", "aws_access_key_id": "any", "aws_secret_access_key": "passes"}
        names = ("sagemaker", "sagemaker-runtime", "s3")
        made = [boto3.client(name, endpoint_url=url, config=config, **known) for name in names]
        made[2].create_bucket(Bucket="data")
        yield Sage(url, home, *made)
        for each in made:
            each.close()
