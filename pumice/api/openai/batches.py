"""`/batches`: a file of requests, answered when there is room. Knows how a line looks; `api.batches` runs them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ValidationError

from pumice.api.batches import Answer, Batch, Record, Results
from pumice.api.exchange import Exchange
from pumice.api.openai import embeddings
from pumice.api.openai.chat import CHAT
from pumice.api.openai.completions import COMPLETIONS
from pumice.api.openai.paging import Limit, Listed, cut, listed
from pumice.api.openai.refusals import Refusal, from_error, invalid
from pumice.api.openai.responses import RESPONSES
from pumice.api.openai.responses_wire import ResponseRequest
from pumice.api.openai.stored import Files
from pumice.api.openai.tuning_wire import Metadata
from pumice.api.openai.wire import ChatRequest, CompletionRequest, Wire
from pumice.api.platform import Platform
from pumice.errors import InputError, NotFoundError, PumiceError

RUNNER = "openai"
PREFIX = "batch_"
MOST = 50_000
WINDOW = timedelta(hours=24)
LATE = {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}
Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
_SHAPES: Mapping[str, type[Wire]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/embeddings": embeddings.EmbeddingRequest,
    "/v1/responses": ResponseRequest,
}
_STATUSES = {
    "submitted": "validating",
    "validating": "validating",
    "running": "in_progress",
    "finishing": "finalizing",
    "completed": "completed",
    "expired": "expired",
    "failed": "failed",
    "stopping": "cancelling",
    "stopped": "cancelled",
}


class BatchRequest(Wire):
    """`POST /v1/batches`."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None


class BatchError(BaseModel):
    code: str
    message: str
    param: None = None
    line: int | None


class BatchErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchError]


class BatchCounts(BaseModel):
    total: int
    completed: int
    failed: int


class BatchTimes(BaseModel):
    """When a batch came into each status that it has been in."""

    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None


class BatchObject(BatchTimes):
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    input_file_id: str
    completion_window: str
    status: str
    errors: BatchErrors | None
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    request_counts: BatchCounts
    metadata: dict[str, str] | None


class OpenAiRunner:
    """Batches of OpenAI's lines."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._files = Files(platform.home, platform.documents)

    def records(self, batch: Batch) -> Iterator[Record]:
        """Every line, checked. Raises `InputError` with the line's number."""
        with batch.records.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if number > MOST:
                    raise InputError(f"Line {number}: a batch has at most {MOST:,} requests.")
                if line.strip():
                    yield self._record(batch, number, line)

    def _record(self, batch: Batch, number: int, line: bytes) -> Record:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"Line {number}: it is not JSON: {error}.") from error
        endpoint = batch.spec["endpoint"]
        if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
            raise InputError(f"Line {number}: 'custom_id' is missing; it must be text.")
        if row.get("method") != "POST" or row.get("url") != endpoint:
            raise InputError(f"Line {number}: 'method' must be 'POST' and 'url' {endpoint!r}, the batch's endpoint.")
        if not isinstance(row.get("body"), dict):
            raise InputError(f"Line {number}: 'body' is missing; it must be the request.")
        if row["body"].get("stream"):
            raise InputError(f"Line {number}: 'stream' is not for batches.")
        return Record(row["custom_id"], row["body"])

    async def answer(self, batch: Batch, record: Record, exchange: Exchange) -> Answer:
        """Ask one as its route would; nobody waits for it."""
        status, exchange.request = 500, record.body
        try:
            body = await self._ask(exchange, _SHAPES[batch.spec["endpoint"]].model_validate(record.body))
            status = 200
        except ValidationError as error:
            first = error.errors()[0]
            refusal = invalid({**first, "loc": ("body", *first["loc"])})
            status = refusal.status
            return Answer(False, _response(refusal, exchange.id))
        except Refusal as refusal:
            status = refusal.status
            return Answer(False, _response(refusal, exchange.id))
        except PumiceError as error:
            status = from_error(error).status
            raise
        except asyncio.CancelledError:
            status = 499
            raise
        finally:
            self._platform.answered(exchange, "batch", "POST", status)
        return Answer(True, {"status_code": status, "request_id": exchange.id, "body": body.model_dump(mode="json")})

    async def _ask(self, exchange: Exchange, request: Wire) -> BaseModel:
        match request:
            case ChatRequest():
                return await CHAT.answer(self._platform, exchange, request)
            case ResponseRequest():
                return await RESPONSES.answer(self._platform, exchange, request)
            case CompletionRequest():
                return await COMPLETIONS.answer(self._platform, exchange, request)
            case embeddings.EmbeddingRequest():
                return await embeddings.answer(self._platform, exchange, request)
        raise AssertionError(request)

    def refuse(self, error: PumiceError) -> Any:
        """A failure as a line of the error file has it."""
        return _response(from_error(error))

    def write(self, batch: Batch, results: Results) -> None:
        """Two files: what was answered, and what was not, in the order of the input; none where nothing is in it."""
        lines: dict[bool, list[str]] = {True: [], False: []}
        for record in self.records(batch):
            answer = results.get(record.id)
            if answer is None and batch.state == "stopping":
                continue
            line: dict[str, Any] = {
                "id": f"batch_req_{uuid.uuid4().hex}",
                "custom_id": record.id,
                "response": None,
                "error": None,
            }
            line |= {"response": answer.body} if answer else {"error": LATE}
            lines[bool(answer and answer.ok)].append(json.dumps(line) + "\n")
        for ok, name in ((True, "output"), (False, "error")):
            path = batch.folder / f"{name}.id"
            if lines[ok] and not path.exists():
                made = self._files.write(
                    f"{PREFIX}{batch.id}_{name}.jsonl", "batch_output", "".join(lines[ok]).encode()
                )
                path.write_text(made.id)


def _response(refusal: Refusal, id: str = "") -> dict[str, Any]:
    return {"status_code": refusal.status, "request_id": id, "body": refusal.body()}


def router(platform: Platform) -> APIRouter:
    """The four routes."""
    routes = APIRouter(prefix="/batches")
    files = Files(platform.home, platform.documents)

    def find(id: str) -> Batch:
        try:
            batch = platform.batches.get(id.removeprefix(PREFIX))
        except NotFoundError:
            batch = None
        if batch is None or batch.runner != RUNNER or not id.startswith(PREFIX):
            raise Refusal(404, f"No batch found with id {id!r}.", param="batch_id", code="batch_not_found")
        return batch

    @routes.post("")
    async def create(request: BatchRequest, http: Request) -> BatchObject:
        """Have every line of an uploaded file answered, for the key that asks for it."""
        file, key = await asyncio.to_thread(_input, files, request.input_file_id), Exchange.of(http.scope).key
        return _shown(await platform.batches.submit(RUNNER, file, request.model_dump(), key=key, within=WINDOW))

    @routes.get("")
    async def list_batches(after: str | None = None, limit: Limit = 20) -> Listed[BatchObject]:
        """The batches, the newest first."""
        batches = await asyncio.to_thread(lambda: [_shown(each) for each in platform.batches.list(RUNNER)])
        page, more = cut(batches, after, limit)
        return listed(list(page), more)

    @routes.get("/{batch_id}")
    async def get_batch(batch_id: str) -> BatchObject:
        """One batch as it stands."""
        return await asyncio.to_thread(lambda: _shown(find(batch_id)))

    @routes.post("/{batch_id}/cancel")
    async def cancel(batch_id: str) -> BatchObject:
        """Stop a batch; what is answered is kept."""
        await platform.batches.cancel((await asyncio.to_thread(find, batch_id)).id)
        return await asyncio.to_thread(lambda: _shown(find(batch_id)))

    return routes


def _input(files: Files, id: str) -> Path:
    if files.get(id, "input_file_id").purpose != "batch":
        message = f"Invalid 'input_file_id': {id} was not uploaded with the purpose 'batch'."
        raise Refusal(400, message, param="input_file_id", code="invalid_value")
    return files.path(id, "input_file_id")


def _shown(batch: Batch) -> BatchObject:
    status = _STATUSES[batch.state]
    times = {f"{_STATUSES[state]}_at": int(at.timestamp()) for state, at in batch.times.items()}
    times.pop("validating_at", None)
    return BatchObject(
        **batch.spec,
        id=PREFIX + batch.id,
        status=status,
        errors=BatchErrors(data=[_error(batch.error)]) if status == "failed" else None,
        output_file_id=_made(batch, "output"),
        error_file_id=_made(batch, "error"),
        created_at=int(batch.created.timestamp()),
        expires_at=int(batch.expires.timestamp()),
        **times,
        request_counts=BatchCounts(
            total=batch.counts.total, completed=batch.counts.succeeded, failed=batch.counts.failed
        ),
    )


def _made(batch: Batch, name: str) -> str | None:
    path = batch.folder / f"{name}.id"
    return path.read_text() if path.exists() else None


def _error(sentence: str) -> BatchError:
    first = sentence.partition(":")[0].removeprefix("Line ")
    return BatchError(code="invalid_input", message=sentence, line=int(first) if first.isdecimal() else None)
