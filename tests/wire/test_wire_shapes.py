"""Every operation that is spoken here round-trips: botocore's client writes, we read; we write, botocore reads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from starlette.requests import Request
from starlette.responses import StreamingResponse

from pumice.api.aws.services import BY_SIGNING_NAME
from pumice.api.aws.wire import AwsService, Call
from pumice.api.exchange import Exchange

SERVICES = [service for services in BY_SIGNING_NAME.values() for service in services]
OPERATIONS = [(service, op) for service in SERVICES for op in service.operations.values()]
NAMES = [f"{service.name}.{op.name}" for service, op in OPERATIONS]
MOMENT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


def sample(shape: Shape, dice: random.Random, depth: int = 0, inside: tuple[str, ...] = ()) -> Any:
    """Some value of a shape, with characters that need escaping; None where it would never end."""
    match shape.type_name:
        case "structure":
            assert isinstance(shape, StructureShape)
            return structure(shape, dice, depth, inside)
        case "list":
            value = sample(shape.member, dice, depth + 1, inside)
            least = shape.metadata.get("min", 0)
            if value is None:
                return None if least else []
            return [value] * max(1, least)
        case "map":
            value = sample(shape.value, dice, depth + 1, inside)
            return {} if value is None else {str(sample(shape.key, dice)): value}
        case "string":
            least = max(1, shape.metadata.get("min", 1))
            plain = "x" * least if dice.random() < 0.5 else "é/ü:% a&b+" + "y" * least
            return shape.enum[0] if shape.enum else plain
        case "integer" | "long":
            return max(shape.metadata.get("min", 3), 1)
        case "float" | "double":
            return max(shape.metadata.get("min", 0), 0.5)
    return {"boolean": True, "timestamp": MOMENT, "blob": b"\x00\xffabc"}[shape.type_name]


def structure(shape: StructureShape, dice: random.Random, depth: int, inside: tuple[str, ...]) -> Any:
    if shape.is_document_type:
        return {"a": [1, "b", {"c": True}]}
    if shape.name in inside:
        return None
    members = list(shape.members)
    values = {}
    if shape.is_tagged_union:
        for name in dice.sample(members, len(members)):
            if (value := sample(shape.members[name], dice, depth + 1, (*inside, shape.name))) is not None:
                return {name: value}
        return None
    for name in members:
        if depth > 3 and name not in shape.required_members:
            continue
        value = sample(shape.members[name], dice, depth + 1, (*inside, shape.name))
        if value is not None:
            values[name] = value
        elif name in shape.required_members:
            return None
    return values


def plain_headers(shape: StructureShape, values: dict[str, Any]) -> dict[str, Any]:
    """Header fields cannot hold every character."""
    headers = [name for name, member in shape.members.items() if member.serialization.get("location") == "header"]
    return {name: "plain" if name in headers and isinstance(value, str) else value for name, value in values.items()}


@pytest.mark.parametrize(("service", "op"), OPERATIONS, ids=NAMES)
def test_a_request_arrives_as_the_client_sent_it(service: AwsService, op: OperationModel) -> None:
    if op.input_shape is None or op.has_event_stream_input:
        pytest.skip("nothing to read, or a stream of events from the client")
    wanted = plain_headers(op.input_shape, sample(op.input_shape, random.Random(op.name)) or {})
    written = create_serializer(service.protocol).serialize_to_request(wanted, op)
    query = written["query_string"]
    request = Request(
        {
            "type": "http",
            "method": written["method"],
            "path": written["url_path"],
            "raw_path": written["url_path"].encode(),
            "query_string": (urlencode(query, doseq=True) if isinstance(query, dict) else query).encode(),
            "headers": [(key.lower().encode(), str(value).encode()) for key, value in written["headers"].items()],
        }
    )
    found = service.find(request)
    assert found is not None
    assert found[0].name == op.name
    body = written["body"] if isinstance(written["body"], bytes) else b""
    assert service.read(op, request, found[1], body) == wanted


@pytest.mark.parametrize(("service", "op"), OPERATIONS, ids=NAMES)
def test_a_response_reads_as_it_was_meant(service: AwsService, op: OperationModel) -> None:
    shape = op.output_shape
    if shape is None:
        pytest.skip("an empty response")
    wanted = plain_headers(shape, sample(shape, random.Random(op.name)) or {})
    parser = create_parser(service.protocol)
    if shape.event_stream_name:
        check_events(service, op, shape, wanted, parser)
        return
    response = service.write(op, wanted)
    message = {"status_code": response.status_code, "headers": HeadersDict(dict(response.headers))}
    payload = shape.serialization.get("payload")
    if payload and shape.members[payload].type_name == "blob":
        assert response.body == wanted[payload]
        return
    parsed = parser.parse({**message, "body": response.body, "context": {}}, shape)
    del parsed["ResponseMetadata"]
    assert parsed == wanted


def check_events(
    service: AwsService, op: OperationModel, shape: StructureShape, wanted: dict[str, Any], parser: Any
) -> None:
    members = op.get_event_stream_output().members.items()
    drawn = {
        name: sample(member, random.Random(name)) for name, member in members if not member.metadata.get("exception")
    }
    events = [{name: value} for name, value in drawn.items() if value is not None]

    async def told() -> AsyncIterator[dict[str, Any]]:
        for each in events:
            yield each

    response = service.write(op, {**wanted, shape.event_stream_name: told()})
    assert isinstance(response, StreamingResponse)

    async def collect() -> bytes:
        return b"".join([bytes(part) async for part in response.body_iterator])

    data = asyncio.run(collect())
    raw = SimpleNamespace(stream=lambda: (data[at : at + 7] for at in range(0, len(data), 7)), close=lambda: None)
    headers = HeadersDict(dict(response.headers))
    message = {"status_code": 200, "headers": headers, "body": raw, "context": {"operation_name": op.name}}
    assert list(parser.parse(message, shape)[shape.event_stream_name]) == events


def test_no_two_operations_of_a_service_share_a_route() -> None:
    taken: dict[tuple[str, str], str] = {}
    for service, op in OPERATIONS:
        pattern = next(pattern.pattern for pattern, other in service._routes if other is op)
        assert taken.setdefault((service.name, pattern), op.name) == op.name


async def test_an_operation_without_a_handler_is_501_with_its_name(platform: Any) -> None:
    service = SERVICES[0]
    op = service.operations["StartAsyncInvoke"]
    response = await service.answer(Call(platform, Request({"type": "http"}), Exchange("req-1")), op, {})
    assert response.status_code == 501
    assert b"StartAsyncInvoke of bedrock-runtime is not served" in response.body
