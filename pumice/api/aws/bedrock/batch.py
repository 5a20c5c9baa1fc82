"""Batch inference: a file of invocations in S3 becomes a file of answers. Running them is `api/batches`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.types import Message

from pumice.api.aws import targets
from pumice.api.aws.bedrock import tags
from pumice.api.aws.errors import AwsError
from pumice.api.aws.names import arn, tail
from pumice.api.aws.paging import page
from pumice.api.aws.runtime.invoke import invoke_model
from pumice.api.aws.services import BEDROCK
from pumice.api.aws.wire import Call
from pumice.api.batches import Answer, Batch, Counts, Record, Results, State
from pumice.api.exchange import Exchange
from pumice.api.platform import Platform
from pumice.errors import ConflictError, DeniedError, ExhaustedError, InputError, NotFoundError, PumiceError
from pumice.store.s3 import Objects, split

RUNNER = "bedrock"
HOURS = 24
"""What a job has where nothing is said."""
_STATUS: dict[State, str] = {
    "submitted": "Submitted",
    "validating": "Validating",
    "running": "InProgress",
    "finishing": "InProgress",
    "expired": "Expired",
    "failed": "Failed",
    "stopping": "Stopping",
    "stopped": "Stopped",
}
_KEPT = ("jobName", "modelId", "roleArn", "clientRequestToken", "inputDataConfig", "outputDataConfig",
         "timeoutDurationInHours", "vpcConfig", "modelInvocationType")  # fmt: skip


@BEDROCK.operation
async def create_model_invocation_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a model everything that a JSONL file in S3 holds."""
    platform = call.platform
    if request.get("modelInvocationType", "InvokeModel") != "InvokeModel":
        sentence = "modelInvocationType Converse is not served: write modelInput in InvokeModel's form for the model."
        raise AwsError("ValidationException", sentence)
    tags.check(request.get("tags"))
    token = request.get("clientRequestToken")
    batches = await asyncio.to_thread(platform.batches.list, RUNNER)
    if again := next((each for each in batches if token and each.spec.get("clientRequestToken") == token), None):
        return {"jobArn": _arn(again.id)}
    await asyncio.to_thread(targets.find, platform, request["modelId"])
    split(f"{_output(request)}/x")
    records = await asyncio.to_thread(Objects(platform.home.s3).path, _input(request))
    spec = {key: request[key] for key in _KEPT if key in request}
    within = timedelta(hours=request.get("timeoutDurationInHours", HOURS))
    batch = await platform.batches.submit(RUNNER, records, spec, key=call.exchange.key, within=within)
    await asyncio.to_thread(tags.put, platform, _arn(batch.id), request.get("tags"))
    return {"jobArn": _arn(batch.id)}


@BEDROCK.operation
def get_model_invocation_job(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """One, with how far it is."""
    return _told(_find(call.platform, request["jobIdentifier"]))


@BEDROCK.operation
def list_model_invocation_jobs(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """All that fit."""
    items = [_told(each) for each in call.platform.batches.list(RUNNER)]
    shown, following = page(items, request, name="jobName", at="submitTime")
    return {"invocationJobSummaries": shown, **following}


@BEDROCK.operation
async def stop_model_invocation_job(call: Call, request: dict[str, Any]) -> None:
    """Ask no more; what is answered is written."""
    batch = await asyncio.to_thread(_find, call.platform, request["jobIdentifier"])
    if batch.state == "stopping":
        raise ConflictError(f"The job {batch.spec['jobName']!r} is stopping already.")
    await call.platform.batches.cancel(batch.id)


class Invocations:
    """How batches of this wire are read, answered and written: a `batches.Runner`."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def records(self, batch: Batch) -> Iterator[Record]:
        """One line, one record."""
        with batch.records.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _record(number, line)

    async def answer(self, batch: Batch, record: Record, exchange: Exchange) -> Answer:
        """What InvokeModel answers, with its tokens."""
        platform, status = self._platform, 500
        exchange.operation = "InvokeModel"
        try:
            call = Call(platform, Request({"type": "http"}, _nobody), exchange)
            await invoke_model(call, {"modelId": batch.spec["modelId"], "body": json.dumps(record.body).encode()})
            status = 200
        except AwsError as error:
            status = error.status
            return Answer(False, {"errorCode": error.status, "errorMessage": error.message})
        except PumiceError as error:
            status = _code(error)
            raise
        except asyncio.CancelledError:
            status = 499
            raise
        finally:
            platform.answered(exchange, exchange.operation, "POST", status)
        tokens = {"input": exchange.input_tokens, "output": exchange.output_tokens}
        return Answer(True, {"modelOutput": exchange.response, "tokens": tokens})

    def refuse(self, error: PumiceError) -> Any:
        """The error of one record."""
        return {"errorCode": _code(error), "errorMessage": " ".join(str(error).split())}

    def write(self, batch: Batch, results: Results) -> None:
        """`OUTPUT/ID/INPUT.out` and the manifest beside it; of a batch that was stopped, what there is."""
        objects, output = Objects(self._platform.home.s3), f"{_output(batch.spec)}/{batch.id}"
        tokens = {"input": 0, "output": 0}
        file = batch.folder / "output.jsonl"
        with file.open("w") as lines:
            for record in self.records(batch):
                if (answer := results.get(record.id)) is None:
                    continue
                line = {"modelInput": record.body, "recordId": record.id}
                if answer.ok:
                    tokens = {side: tokens[side] + answer.body["tokens"][side] for side in tokens}
                    line["modelOutput"] = answer.body["modelOutput"]
                else:
                    line["error"] = answer.body
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        objects.put(f"{output}/{_last(_input(batch.spec))}.out", file)
        manifest = _counted(results.counts) | {f"{side}TokenCount": count for side, count in tokens.items()}
        objects.put(f"{output}/manifest.json.out", json.dumps(manifest).encode())


def _code(error: PumiceError) -> int:
    codes = {NotFoundError: 404, InputError: 400, DeniedError: 403, ExhaustedError: 429}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 503)


def _last(uri: str) -> str:
    """The last part of a key."""
    return uri.rpartition("/")[2]


async def _nobody() -> Message:
    """What the connection of a record says: nothing, as there is nobody who could hang up."""
    await asyncio.Event().wait()
    return {}


def _record(number: int, line: bytes) -> Record:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InputError(f"Line {number} is no JSON: {error}.") from error
    if not isinstance(found, dict) or not isinstance(found.get("modelInput"), dict):
        raise InputError(f"Line {number}: modelInput is missing.", 'The form is {"recordId": "…", "modelInput": {…}}.')
    return Record(str(found.get("recordId") or f"CALL{number:07}"), found["modelInput"])


def _find(platform: Platform, identifier: str) -> Batch:
    try:
        batch = platform.batches.get(tail(identifier))
    except NotFoundError:
        batch = None
    if batch is None or batch.runner != RUNNER:
        raise AwsError("ResourceNotFoundException", f"There is no model invocation job {identifier!r}.", 404)
    return batch


def _told(batch: Batch) -> dict[str, Any]:
    told = {
        **batch.spec,
        "jobArn": _arn(batch.id),
        "status": _status(batch),
        "submitTime": batch.created,
        "lastModifiedTime": batch.updated,
        **_counted(batch.counts),
    }
    if "timeoutDurationInHours" in batch.spec:
        told["jobExpirationTime"] = batch.expires
    if batch.ended:
        told["endTime"] = batch.ended
    return {**told, "message": batch.error} if batch.error else told


def _status(batch: Batch) -> str:
    if batch.state == "completed":
        return "PartiallyCompleted" if batch.counts.failed else "Completed"
    return _STATUS[batch.state]


def _counted(counts: Counts) -> dict[str, int]:
    return {
        "totalRecordCount": counts.total,
        "processedRecordCount": counts.succeeded + counts.failed,
        "successRecordCount": counts.succeeded,
        "errorRecordCount": counts.failed,
    }


def _input(request: Any) -> str:
    return str(request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"])


def _output(request: Any) -> str:
    return str(request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]).rstrip("/")


def _arn(id: str) -> str:
    return arn("bedrock", f"model-invocation-job/{id}")
