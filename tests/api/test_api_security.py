"""A hostile caller against a real server: what it sends is refused in the wire's own words, and the others go on."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from live_server import Live
from starlette.routing import BaseRoute

from pumice.api.app import create_app
from pumice.api.aws import signature
from pumice.api.aws.errors import AwsError
from pumice.api.gate import MAX_AWS_BODY, MAX_JSON_BODY, OPEN_PATHS
from pumice.api.openai.wire import MOST_ANSWERS
from pumice.api.platform import open_platform
from pumice.api.roles import action_of
from pumice.api.serve import alone
from pumice.config import Home
from pumice.errors import InputError
from pumice.store.tables import open_database

SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
JSON = {"Content-Type": "application/json"}


def ask(live: Live, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The answer to a request that is sent as it stands, path and all."""
    connection = HTTPConnection(*live.address, timeout=30)
    try:
        connection.request(method, path, body, {**JSON, **headers})
        answer = connection.getresponse()
        told = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, told
    finally:
        connection.close()


def s3(live: Live, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    return ask(live, method, path, body, Authorization=SIGNED.format("s3"), **headers)


def test_every_route_has_an_action(tmp_path: Path) -> None:
    home = Home(tmp_path)
    routes: list[BaseRoute] = create_app(open_platform(home, open_database(home.database)), "127.0.0.1").routes
    for route in routes:
        if isinstance(route, APIRoute) and route.path not in OPEN_PATHS:
            for method in route.methods or ():
                assert action_of(method, route.path), f"{method} {route.path} has no action"


def test_half_a_character_is_the_callers_mistake(live: Live) -> None:
    for path, body in (
        ("/v1/chat/completions", {"model": "red", "messages": [{"role": "user", "content": "ab\ud800"}]}),
        ("/v1/completions", {"model": "red", "prompt": "ab\ud800"}),
    ):
        status, _, told = ask(live, "POST", path, json.dumps(body).encode())
        assert status == 400 and "surrogate pair at character" in json.loads(told)["error"]["message"]


def test_one_request_cannot_ask_for_any_number_of_answers(live: Live) -> None:
    body = {"model": "red", "prompt": ["a"] * (MOST_ANSWERS // 128 + 1), "n": 128, "max_tokens": 1}
    status, _, told = ask(live, "POST", "/v1/completions", json.dumps(body).encode())
    assert status == 400 and json.loads(told)["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    ("path", "headers", "limit", "word"),
    [
        ("/v1/chat/completions", {}, MAX_JSON_BODY, '"error"'),
        ("/model/red/converse", {}, MAX_AWS_BODY, "RequestEntityTooLargeException"),
        ("/", {"Authorization": SIGNED.format("sagemaker"), "X-Amz-Target": "SageMaker.ListModels"}, MAX_AWS_BODY,
         "RequestEntityTooLargeException"),
        ("/", {"Authorization": SIGNED.format("sts")}, MAX_AWS_BODY, "<Code>RequestEntityTooLargeException"),
    ],
)  # fmt: skip
def test_a_body_that_is_too_large_is_refused_in_the_wires_words(
    live: Live, path: str, headers: dict[str, str], limit: int, word: str
) -> None:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in {**JSON, **headers}.items()]
    part = b"%x\r\n%s\r\n" % (500_000, b" " * 500_000)
    with socket.create_connection(live.address, timeout=30) as caller:
        caller.sendall("\r\n".join([*lines, "", ""]).encode())
        for _ in range(limit // 500_000):
            caller.sendall(part)
        # No byte more than it takes, or the server's end would reset the connection.
        caller.sendall(b"1\r\n \r\n")
        told = b""
        while more := caller.recv(65_536):
            told += more
    assert told.startswith(b"HTTP/1.1 413") and word.encode() in told


def test_names_that_no_disk_takes_are_refused_as_s3_refuses(live: Live) -> None:
    assert s3(live, "PUT", "/security")[0] in (200, 409)
    for key in ("a%00b", "..%5c..%5cx", "x" * 300, "%2e%2e/%2e%2e/pumice.db", "..%2f..%2fpumice.db"):
        for method in ("GET", "PUT"):
            status, _, told = s3(live, method, f"/security/{key}", Range="bytes=0-1")
            assert status == 400 and b"<Code>InvalidObjectName</Code>" in told, key
    status, _, told = s3(live, "PUT", "/security/k?uploadId=..%2f..%2fx&partNumber=1", b"x")
    assert status == 404 and b"<Code>NoSuchUpload</Code>" in told
    status, headers, told = s3(live, "PATCH", "/security/k")
    assert status == 405 and headers["content-type"] == "application/xml" and b"MethodNotAllowed" in told


def test_a_web_page_elsewhere_gets_no_picture_and_no_script(live: Live) -> None:
    presigned = "/security?AWSAccessKeyId=a&Signature=b&Expires=9999999999"
    for path in ("/v1/models", presigned, "/foundation-models"):
        fetched = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        assert ask(live, "GET", path, b"", **fetched)[0] == 403
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}):
        assert ask(live, "GET", "/v1/models", b"", **headers)[0] == 200


def test_a_page_in_a_bucket_is_no_page_of_the_servers_own(live: Live) -> None:
    s3(live, "PUT", "/security")
    s3(live, "PUT", "/security/page.html", b"<script>fetch('/v1/files')</script>", **{"Content-Type": "text/html"})
    status, headers, _ = s3(live, "GET", "/security/page.html")
    assert (status, headers["content-security-policy"]) == (200, "sandbox")
    assert headers["x-content-type-options"] == "nosniff"


def test_a_time_that_no_clock_knows_is_refused(live: Live) -> None:
    """With keys a signature's time is read before anything is known of its sender."""
    query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/99991231/r/s3/aws4_request&X-Amz-SignedHeaders=host"
    query += f"&X-Amz-Signature={'0' * 64}&X-Amz-Date=99991231T235959Z&X-Amz-Expires=604800"
    scope = {"type": "http", "query_string": query.encode(), "headers": []}
    with pytest.raises(AwsError, match="too late"):
        signature.read(scope)


def test_a_home_has_one_server(home: Home) -> None:
    home.root.mkdir()
    database = open_database(home.database)
    with alone(home, database), pytest.raises(InputError, match="Another `pumice serve` runs"), alone(home, database):
        pass
    with alone(home, database):
        pass


def test_records_that_servers_share_have_one_server(server_home: Home, tmp_path: Path) -> None:
    here, there = server_home, replace(server_home, root=tmp_path)
    databases = [open_database(each.database) for each in (here, there)]
    try:
        with (
            alone(here, databases[0]),
            pytest.raises(InputError, match="runs on the records in postgresql"),
            alone(there, databases[1]),
        ):
            pass
        with alone(there, databases[1]):
            pass
    finally:
        for each in databases:
            each.dispose()
