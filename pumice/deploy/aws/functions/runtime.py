"""Lambda's runtime loop: asks for events and sends each answer on piece by piece, which AWS's own for Python cannot.

Needs nothing but Python. What is said here is AWS's contract for custom runtimes; `runtime.sh` starts it.
"""

from __future__ import annotations

import base64
import importlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

API = "/2018-06-01/runtime"
KIND = "application/vnd.awslambda.http-integration-response"
BODY_FOLLOWS = bytes(8)
"""Between status and headers, as JSON, and the body."""
ERROR_TYPE, ERROR_BODY = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """What a handler may know of its invocation."""

    aws_request_id: str


def main() -> None:
    """Answer until Lambda ends the process."""
    try:
        module, _, name = os.environ["_HANDLER"].rpartition(".")
        handler: Handler = getattr(importlib.import_module(module), name)
    except Exception as error:
        logging.exception("the handler cannot be loaded")
        report(f"{API}/init/error", error)
        raise SystemExit(1) from error
    while True:
        serve(handler)


def serve(handler: Handler) -> None:
    """Wait for one event and answer it."""
    connection = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request("GET", f"{API}/invocation/next")
    event = connection.getresponse()
    id_ = event.headers["Lambda-Runtime-Aws-Request-Id"]
    # boto3 passes it on to what it calls.
    os.environ["_X_AMZN_TRACE_ID"] = event.headers.get("Lambda-Runtime-Trace-Id", "")
    asked = json.loads(event.read())
    connection.close()
    try:
        answer = handler(asked, Context(id_))
    except Exception as error:
        logging.exception("request %s", id_)
        report(f"{API}/invocation/{id_}/error", error)
        return
    send(f"{API}/invocation/{id_}/response", answer)


def send(path: str, answer: dict[str, Any]) -> None:
    """Status and headers at once, then the body as it comes."""
    body = answer["body"]
    pieces: Iterable[bytes] = [body.encode()] if isinstance(body, str) else body
    connection = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", KIND)
    connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Trailer", f"{ERROR_TYPE}, {ERROR_BODY}")
    connection.endheaders()
    head = {"statusCode": answer["statusCode"], "headers": answer["headers"]}
    connection.send(chunk(json.dumps(head).encode() + BODY_FOLLOWS))
    end = ""
    try:
        for piece in filter(None, pieces):
            connection.send(chunk(piece))
    except Exception as error:
        # The status is sent; a trailer still tells Lambda that the function failed.
        logging.exception("in the middle of an answer")
        told = base64.b64encode(json.dumps(described(error)).encode()).decode()
        end = f"{ERROR_TYPE}: {type(error).__name__}\r\n{ERROR_BODY}: {told}\r\n"
    connection.send(f"0\r\n{end}\r\n".encode())
    connection.getresponse().read()
    connection.close()


def chunk(piece: bytes) -> bytes:
    """As HTTP frames it."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def report(path: str, error: Exception) -> None:
    """Tell Lambda that there is no answer."""
    connection = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request("POST", path, json.dumps(described(error)), {ERROR_TYPE: type(error).__name__})
    connection.getresponse().read()
    connection.close()


def described(error: Exception) -> dict[str, str]:
    """As Lambda keeps it."""
    return {"errorType": type(error).__name__, "errorMessage": str(error)}


if __name__ == "__main__":
    main()
