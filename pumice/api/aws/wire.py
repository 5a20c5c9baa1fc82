"""AWS's JSON services from botocore's own service models: a server is a client read backwards.

botocore's response parser is pointed at input shapes to read requests, and its request serialiser at output shapes to
write responses, so that blobs, timestamps, headers and validation stay botocore's work. Knows no operation.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

import orjson
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pumice.api.aws.actions import action_of
from pumice.api.aws.errors import AwsError, translate
from pumice.api.aws.frames import event_frame, exception_frame
from pumice.api.exchange import Exchange
from pumice.api.platform import Platform
from pumice.errors import PumiceError

LOGGER = logging.getLogger(__name__)
MAX_BODY = 25_000_000
"""Bytes, as Bedrock says of InvokeModel."""


@dataclass(frozen=True)
class Call:
    """One request, as handlers see it beside its parameters."""

    platform: Platform
    http: Request
    exchange: Exchange
    headers: dict[str, str] = field(default_factory=dict)
    """Of the response, beside those that its shape has."""


Answer = Awaitable[Mapping[str, Any] | None] | Mapping[str, Any] | None
Handler = Callable[[Call, dict[str, Any]], Answer]
H = TypeVar("H", bound=Handler)


class AwsService:
    """One AWS service: routes and shapes from botocore, behaviour from functions named as in boto3.

    A handler gets botocore-typed parameters and returns the output shape as plain data; an event stream is an async
    iterator of `{event name: event}`. It may raise any `PumiceError`, or `AwsError` for a code of AWS's own.
    Handlers that are not coroutines run in a thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = ServiceModel(Loader().load_service_model(name, "service-2"), name)
        # Where a service speaks several, the one that botocore's own client chooses.
        self.protocol = self.model.resolved_protocol
        self._parser, self._serializer = create_parser(self.protocol), create_serializer(self.protocol)
        self.operations = {each: self.model.operation_model(each) for each in self.model.operation_names}
        self._named = {xform_name(each): each for each in self.operations}
        # Literal paths before those with labels: `/foundation-models` is no `/{id}`.
        self._routes = sorted(
            ((_request_line(op), op) for op in self.operations.values()), key=lambda route: route[0].groups
        )
        self.handlers: dict[str, Handler] = {}

    def operation(self, handler: H) -> H:
        """Serve the operation that this function is named after; a misspelt name fails at import."""
        name = self._named[handler.__name__]
        assert name not in self.handlers, f"{name} has two handlers"
        self.handlers[name] = handler
        return handler

    def find(self, request: Request) -> tuple[OperationModel, dict[str, str]] | None:
        """The operation that a request is for and its path labels, or None when it is none of this service's."""
        # The raw path: an ARN inside a label arrives as %2F.
        path = request.scope["raw_path"].decode()
        line = f"{request.method} {path} {request.headers.get('x-amz-target', '')}"
        for pattern, op in self._routes:
            if found := pattern.fullmatch(line):
                return op, {key: unquote(value) for key, value in found.groupdict().items()}
        return None

    async def answer(self, call: Call, op: OperationModel, labels: dict[str, str]) -> Response:
        """Read, handle and write one request; whatever fails is an error in this service's shape."""
        call.exchange.operation = op.name
        try:
            if op.name not in self.handlers:
                raise AwsError("NotImplementedException", f"{op.name} of {self.name} is not served by Pumice.", 501)
            call.http.scope["caller"].need(action_of(op.name))
            params = self.read(op, call.http, labels, await _body(call.http))
            response = self.write(op, await _run(self.handlers[op.name], call, params))
            response.headers.update(call.headers)
            return response
        except PumiceError as error:
            return self.refuse(translate(error, op, self.model))
        except AwsError as error:
            return self.refuse(error)
        except Exception:
            LOGGER.exception("request %s: %s %s failed", call.exchange.id, self.name, op.name)
            sentence = f"{op.name} failed; the server's log holds the reason under {call.exchange.id}."
            return self.refuse(AwsError("InternalServerException", sentence, 500))

    def read(self, op: OperationModel, request: Request, labels: dict[str, str], body: bytes) -> dict[str, Any]:
        """Fold path, query and body into one JSON object, which botocore types and validates."""
        if (shape := op.input_shape) is None:
            return {}
        payload = shape.serialization.get("payload")  # set when the whole body is one member
        opaque = payload is not None and shape.members[payload].type_name == "blob"  # InvokeModel, InvokeEndpoint
        try:
            if not payload:
                # Stricter than Python: no NaN, no half of a surrogate pair, no depth that a stack cannot take.
                fields = orjson.loads(body) if body else {}
                body = json.dumps({**fields, **labels, **_query(request, shape)}).encode()
            message = {"status_code": 200, "headers": request.headers, "body": b"" if opaque else body}
            params: dict[str, Any] = self._parser.parse(message, shape)
        except (ValueError, TypeError, AttributeError) as error:
            raise AwsError("SerializationException", f"The body is no {shape.name}: {error}.") from error
        del params["ResponseMetadata"]
        if payload:
            params |= {**labels, payload: body} if opaque else labels
        if (report := ParamValidator().validate(params, shape)).has_errors():
            raise AwsError("ValidationException", " ".join(report.generate_report().split()))
        return params

    def write(self, op: OperationModel, result: Mapping[str, Any] | None) -> Response:
        """Encode what the handler returned; botocore refuses what the output shape does not allow."""
        status, shape = op.http.get("responseCode", 200), op.output_shape
        if shape is None:
            return Response(status_code=status)
        found = dict(result or {})
        if not (stream := shape.event_stream_name):
            headers, body = self._encode(shape, found)
            return Response(body, status, headers)
        events, found[stream] = found[stream], {}  # framed one by one, not encoded here
        headers, _ = self._encode(shape, found)
        frames = self._frames(op, shape.members[stream], events)
        return StreamingResponse(frames, status, headers, "application/vnd.amazon.eventstream")

    def refuse(self, error: AwsError) -> Response:
        """An error as botocore reads it; a modelled one has its modelled status."""
        shape = self.model.shape_for_error_code(error.code)  # type: ignore[arg-type]  # the stub says int
        status = shape.metadata.get("error", {}).get("httpStatusCode") if shape else None
        body = json.dumps({"__type": error.code, "message": error.message})
        return Response(
            body, status or error.status, {"x-amzn-errortype": error.code, **error.headers}, "application/json"
        )

    def _encode(self, shape: StructureShape, value: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        """Headers and body for `value`, by serialising a request whose input is this shape."""
        mirror = {"name": shape.name, "http": {"requestUri": "/"}, "input": {"shape": shape.name}}
        message = self._serializer.serialize_to_request(value, OperationModel(mirror, self.model))
        return message["headers"], message["body"]

    async def _frames(
        self, op: OperationModel, union: Shape, events: AsyncIterator[Mapping[str, Any]]
    ) -> AsyncIterator[bytes]:
        """Frame events as they come; an error becomes the closing frame, as the status has been sent."""
        assert isinstance(union, StructureShape)
        try:
            async for event in events:
                ((name, value),) = event.items()
                shape = union.members[name]
                assert isinstance(shape, StructureShape)
                members = shape.members
                raw = next((each for each in members if members[each].serialization.get("eventpayload")), None)
                body = value[raw] if raw else self._encode(shape, value)[1]
                yield event_frame(name, body)
        except PumiceError as error:
            told = translate(error, op, self.model)
            yield exception_frame(_member(union, told.code), told.message)
        except AwsError as error:
            yield exception_frame(_member(union, error.code), error.message)
        except Exception:
            LOGGER.exception("%s %s failed while it streamed", self.name, op.name)
            yield exception_frame("internalServerException", "The server failed; see its log.")


def _member(union: StructureShape, code: str) -> str:
    """How the stream's own shape spells an error code: `throttlingException`."""
    return next((name for name, shape in union.members.items() if code in (name, shape.name)), code)


def _request_line(op: OperationModel) -> re.Pattern[str]:
    """What selects `op`: 'POST /model/{modelId}/converse ' or 'POST / SageMaker.CreateTrainingJob'."""
    path = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(op.http["requestUri"].rstrip("/")))
    target = f"{op.metadata['targetPrefix']}.{op.name}" if "targetPrefix" in op.metadata else ""
    return re.compile(f"{op.http['method']} {path}/? {re.escape(target)}")


def _query(request: Request, shape: StructureShape) -> dict[str, Any]:
    """The query's fields under their members' wire names; one that may be there several times is a list."""
    pairs = parse_qsl(request.url.query, keep_blank_values=True)
    lists = {
        member.serialization.get("name", name) for name, member in shape.members.items() if member.type_name == "list"
    }
    return {key: [value for other, value in pairs if other == key] if key in lists else value for key, value in pairs}


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise AwsError("RequestEntityTooLargeException", f"The body is larger than {MAX_BODY:,} bytes.", 413)
        parts.append(part)
    return b"".join(parts)


def _blocking(handler: Handler, call: Call, params: dict[str, Any]) -> Answer:
    try:
        return handler(call, params)
    except StopIteration as error:
        # No future can hold it: whoever awaited the thread would wait for ever.
        raise RuntimeError(f"{handler.__name__} took the next of something that had none") from error


async def _run(handler: Handler, call: Call, params: dict[str, Any]) -> Mapping[str, Any] | None:
    if inspect.iscoroutinefunction(handler):
        result: Mapping[str, Any] | None = await handler(call, params)
        return result
    answer = await asyncio.to_thread(_blocking, handler, call, params)
    assert not inspect.isawaitable(answer), f"{handler.__name__} must be a coroutine function"
    return answer
