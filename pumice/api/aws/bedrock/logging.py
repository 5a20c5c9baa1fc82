"""Invocation logging: where every question and answer is delivered, and who may say so. Knows not how they are made."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import ACCOUNT, REGION
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.background import Part
from pumice.api.exchange import Exchange
from pumice.api.platform import Platform
from pumice.store.s3 import Objects

LOGGER = logging.getLogger(__name__)
KIND, NAME = "bedrock-invocation-logging", "configuration"
LOGGED = ("InvokeModel", "InvokeModelWithResponseStream", "Converse", "ConverseStream")
GATHER = 2.0
"""Seconds that a record waits for others, at most."""
MOST_WAITING = 10_000
LARGE = 100_000
"""Bytes of a body that gets an object of its own, as on AWS."""


@BEDROCK.operation
def put_model_invocation_logging_configuration(call: Call, request: dict[str, Any]) -> None:
    """From now on every invocation is delivered there."""
    wanted = request["loggingConfig"]
    if "cloudWatchConfig" in wanted:
        sentence = "cloudWatchConfig is not served: there is no CloudWatch here. Deliver to s3Config."
        raise AwsError("ValidationException", sentence)
    if "s3Config" not in wanted:
        raise AwsError("ValidationException", "loggingConfig needs s3Config: the bucket that records are delivered to.")
    bucket = wanted["s3Config"]["bucketName"]
    if not (call.platform.home.s3 / bucket).is_dir():
        sentence = f"s3Config.bucketName: there is no bucket {bucket!r}. Make it first, with S3's CreateBucket."
        raise AwsError("ValidationException", sentence)
    call.platform.documents.put(KIND, NAME, wanted)
    call.platform.part(InvocationLog).read()


@BEDROCK.operation
def get_model_invocation_logging_configuration(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """What was put, nothing when nothing is delivered."""
    found = call.platform.documents.find(KIND, NAME)
    return {"loggingConfig": dict(found.body)} if found else {}


@BEDROCK.operation
def delete_model_invocation_logging_configuration(call: Call, request: dict[str, Any]) -> None:
    """Deliver nothing from now on."""
    if call.platform.documents.find(KIND, NAME):
        call.platform.documents.delete(KIND, NAME)
    call.platform.part(InvocationLog).read()


@dataclass(frozen=True)
class _Record:
    """One invocation on its way to S3, and where it goes."""

    bucket: str
    prefix: str
    hour: str
    bodies: bool
    exchange: Exchange


class InvocationLog(Part):
    """Delivers invocations to S3, off the way of the requests; when it cannot keep up, records are dropped."""

    def __init__(self, platform: Platform) -> None:
        self.dropped = 0
        """Records that were not delivered."""
        self._platform, self._objects = platform, Objects(platform.home.s3)
        self._config: Mapping[str, Any] = {}
        self._waiting: queue.Queue[_Record | threading.Event] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Go on as configured before."""
        self.read()
        self._thread = threading.Thread(target=self._write, name="invocation log", daemon=True)
        self._thread.start()

    def read(self) -> None:
        """Take up the configuration as it is now. Blocks."""
        found = self._platform.documents.find(KIND, NAME)
        self._config = found.body if found else {}

    def answered(self, exchange: Exchange, status: int) -> None:
        """Take one to be delivered; never waits. Its bodies must not be changed any more."""
        config = self._config
        # What a batch asks is in its own output already.
        if not config or exchange.operation not in LOGGED or exchange.background:
            return
        target = config["s3Config"]
        prefix = target.get("keyPrefix", "").strip("/")
        bodies = config.get("textDataDeliveryEnabled", True)
        record = _Record(target["bucketName"], prefix, f"{exchange.at:%Y/%m/%d/%H}", bodies, replace(exchange))
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait until everything taken so far is delivered or dropped."""
        done = threading.Event()
        self._waiting.put(done)
        done.wait()

    async def stop(self) -> None:
        """Deliver what waits, and end."""
        if self._thread:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(self._waiting.put, threading.Event())
            await asyncio.to_thread(thread.join)

    def _write(self) -> None:
        """The thread's life: gather records, until somebody waits for them or they have waited long enough."""
        while self._thread or not self._waiting.empty():
            gathered, waiter = self._gather()
            self._deliver(gathered)
            if waiter:
                waiter.set()

    def _gather(self) -> tuple[list[_Record], threading.Event | None]:
        """The next records, and who waits for them."""
        gathered: list[_Record] = []
        until: float | None = None
        while len(gathered) < MOST_WAITING:
            try:
                found = self._waiting.get(timeout=until and max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(found, threading.Event):
                return gathered, found
            gathered.append(found)
            until = until or time.monotonic() + GATHER
        return gathered, None

    def _deliver(self, gathered: list[_Record]) -> None:
        """One object for each bucket, prefix and hour."""
        objects: dict[str, list[_Record]] = defaultdict(list)
        for record in gathered:
            objects[_folder(record)].append(record)
        for folder, records in objects.items():
            first = records[0].exchange
            name = f"{first.at:%Y%m%dT%H%M%S%f}Z_{first.id.removeprefix('req-')[:16]}.json.gz"
            try:
                lines = [json.dumps(self._told(folder, record), ensure_ascii=False) for record in records]
                self._objects.put(f"{folder}/{name}", gzip.compress("\n".join([*lines, ""]).encode()))
            except Exception:
                self.dropped += len(records)
                LOGGER.exception("%d records of invocations could not be delivered to %s", len(records), folder)

    def _told(self, folder: str, record: _Record) -> dict[str, Any]:
        """A record in Bedrock's form."""
        exchange = record.exchange
        told = {
            "schemaType": "ModelInvocationLog",
            "schemaVersion": "1.0",
            "timestamp": f"{exchange.at:%Y-%m-%dT%H:%M:%SZ}",
            "accountId": ACCOUNT,
            "identity": {"arn": f"arn:aws:iam::{ACCOUNT}:user/{exchange.key.name if exchange.key else 'anyone'}"},
            "region": REGION,
            "requestId": exchange.id,
            "operation": exchange.operation,
            "modelId": exchange.asked,
            "input": {
                "inputContentType": "application/json",
                **self._body(folder, record, "input", exchange.request),
                "inputTokenCount": exchange.input_tokens,
            },
            "output": {
                "outputContentType": "application/json",
                **self._body(folder, record, "output", exchange.response),
                "outputTokenCount": exchange.output_tokens,
            },
        }
        if exchange.metadata:
            told["requestMetadata"] = dict(exchange.metadata)
        return told

    def _body(self, folder: str, record: _Record, side: str, body: Any) -> dict[str, Any]:
        """The body of one side inside the record, or, when it is large, as an object beside it."""
        if not record.bodies or body is None:
            return {}
        content = json.dumps(body, ensure_ascii=False).encode()
        if len(content) <= LARGE:
            return {f"{side}BodyJson": body}
        uri = f"{folder}/data/{record.exchange.id}_{side}.json.gz"
        self._objects.put(uri, gzip.compress(content))
        return {f"{side}BodyS3Path": uri}


def _folder(record: _Record) -> str:
    prefix = f"{record.prefix}/" if record.prefix else ""
    return f"s3://{record.bucket}/{prefix}AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/{record.hour}"
