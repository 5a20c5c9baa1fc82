"""One question to a deployment, with the asker's own credentials: the endpoint's words as they come, or through S3."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from pumice.deploy.aws.account import Account, missing
from pumice.deploy.aws.facts import Facts
from pumice.errors import NotFoundError, UnavailableError

Tell = Callable[[str], None]
PAUSE = 3.0
"""Seconds between two looks."""
PATIENCE = 3600.0
"""For an answer out of the queue, which is as long as SageMaker lets a model take."""


def invoke(facts: Facts, account: Account, question: str, tell: Tell, version: str | None = None) -> Iterator[str]:
    """The answer, piece by piece. Raises `UnavailableError`, and `NotFoundError` for a version that is not there."""
    who = {"InferenceComponentName": component(facts, version)} if facts.adapters or version else {}
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "max_tokens": 256}
    if facts.mode == "async":
        yield queued(facts, account, asked, tell)
        return
    for event in events(started(facts, account, {**asked, "stream": True}, who)):
        if "error" in event:
            raise UnavailableError("The model failed in the middle of its answer.", str(event["error"]))
        for choice in event["choices"]:
            yield choice["delta"].get("content") or ""


def component(facts: Facts, version: str | None) -> str:
    """The one of a version, or of the first. Raises `NotFoundError`."""
    if version is None:
        return next(iter(facts.components.values()))
    if version not in facts.components:
        there = ", ".join(facts.components) or f"{facts.variants[0].model} alone"
        raise NotFoundError(f"{facts.name} has no version {version} to choose.", f"It has {there}.")
    return facts.components[version]


def started(
    facts: Facts, account: Account, asked: Mapping[str, Any], who: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The parts of a streamed answer. Raises `UnavailableError` for an endpoint that is switched off."""
    client, end = account.client("sagemaker-runtime"), time.monotonic() + 60
    while True:
        try:
            found = client.invoke_endpoint_with_response_stream(
                EndpointName=facts.endpoint, ContentType="application/json", Body=json.dumps(asked), **who
            )
            return iter(found["Body"])
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ModelNotReadyException" and time.monotonic() < end:
                time.sleep(5)
                continue
            raise off(facts, error) from error


def off(facts: Facts, error: ClientError) -> Exception:
    """A missing endpoint as a sentence; any other error as it is."""
    if not missing(error) and error.response["Error"]["Code"] != "ValidationError":
        return error
    return UnavailableError(
        f"{facts.name} is switched off: its endpoint is not there.",
        f"Idle endpoints are deleted after {facts.idle_minutes} minutes, so that nobody pays for them.",
        "Plan and apply again: it takes some minutes to come up.",
    )


def events(parts: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What is in each event, up to the last; SageMaker cuts them anywhere."""
    held = b""
    for part in parts:
        *lines, held = (held + part["PayloadPart"]["Bytes"]).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield json.loads(line[5:])


def queued(facts: Facts, account: Account, asked: Mapping[str, Any], tell: Tell) -> str:
    """Put the question into S3, have it queued, and wait for the answer there. Raises `UnavailableError`."""
    s3, key = account.client("s3"), f"async-in/{uuid.uuid4().hex}.json"
    s3.put_object(Bucket=facts.bucket, Key=key, Body=json.dumps(asked).encode())
    try:
        made = account.client("sagemaker-runtime").invoke_endpoint_async(
            EndpointName=facts.endpoint,
            ContentType="application/json",
            InputLocation=f"s3://{facts.bucket}/{key}",
            InvocationTimeoutSeconds=int(PATIENCE),
        )
    except ClientError as error:
        raise off(facts, error) from error
    answer, failure = made["OutputLocation"], made.get("FailureLocation", "")
    tell(f"Queued. An idle machine starts first, which takes minutes. The answer will be {answer}")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (found := read(s3, answer)) is not None:
            return str(json.loads(found)["choices"][0]["message"]["content"])
        if failure and (found := read(s3, failure)) is not None:
            raise UnavailableError(
                "The model failed on this request.", found.decode("utf-8", "replace")[:300], f"See {failure}"
            )
        time.sleep(PAUSE)
    raise UnavailableError(
        f"There is no answer after {PATIENCE / 60:.0f} minutes.",
        "The request stays in the queue for six hours.",
        f"Look later: aws s3 cp {answer} -",
    )


def read(s3: Any, location: str) -> bytes | None:
    """What lies there; None for nothing yet."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    try:
        found: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if missing(error):
            return None
        raise
    return found
