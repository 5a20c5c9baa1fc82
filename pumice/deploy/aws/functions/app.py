"""Between API Gateway and the endpoint: checks a request, asks, and leaves one row in the request log.

Needs nothing but boto3. The addresses of what it calls come from boto3's own variables, so tests run this very file.
A streamed answer has an iterator as its body, which `runtime.py` sends on.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError, ReadTimeoutError

ENDPOINT = os.environ["ENDPOINT_NAME"]
COMPONENTS: dict[str, str] = json.loads(os.environ.get("COMPONENTS", "{}"))
"""By the model that a request names: the inference component that answers; empty where one model is behind all."""
LOG_BODIES = os.environ.get("LOG_BODIES") == "1"
LONGEST_BODY = 200_000
MOST_TOKENS = 4096
KEPT_DAYS = 30
SECONDS = 60
"""For a whole answer, or for the next piece of a streamed one: SageMaker itself waits no longer."""
LONGEST_STREAM = 480
"""With one more wait it is below the function's limit, which is below the gateway's: so whoever waits reads why."""

# One try: asking a slow model twice makes it slower.
_asking = Config(retries={"total_max_attempts": 1}, read_timeout=SECONDS, connect_timeout=2)
_model = boto3.client("sagemaker-runtime", config=_asking)
_writing = Config(retries={"total_max_attempts": 2}, read_timeout=1, connect_timeout=1)
_table = boto3.resource("dynamodb", config=_writing).Table(os.environ["TABLE_NAME"])

REFUSALS = {
    "ValidationError": (503, "unavailable", "The model is not running; it may be switched off while nobody asks."),
    "ModelNotReadyException": (503, "starting", "The model is starting; ask again in a minute."),
    "ServiceUnavailable": (503, "unavailable", "The model has no room now; ask again soon."),
    "ThrottlingException": (429, "busy", "Too many requests at once; ask again soon."),
    "ModelError": (502, "model_error", "The model failed on this request."),
    "ModelStreamError": (502, "model_error", "The model failed in the middle of its answer."),
    "InternalStreamFailure": (502, "model_error", "The answer broke off; ask again."),
}
"""By AWS's code. What AWS says itself may name roles and accounts, so it stays in the log."""


FAILED = {"type": "internal", "message": "The gateway failed; its log says why."}


class Refused(Exception):
    """The caller is told so, and nothing else."""

    def __init__(self, status: int, type_: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.type = status, type_


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One request of API Gateway's, of either payload version, or of a function URL."""
    started = time.time()
    id_ = context.aws_request_id
    path = event.get("path") or event.get("rawPath") or ""
    row: dict[str, Any] = {}
    try:
        body = read(event)
        if path.endswith("/feedback"):
            return respond(200, feedback(body), id_)
        if body.get("stream"):
            events = stream(body, id_, started, row)
            first = next(events)
            row["first_milliseconds"] = since(started)
            headers = headers_of(id_, "text/event-stream") | {"x-variant": row["variant"]}
            return {"statusCode": 200, "headers": headers, "body": told(first, events, id_, started, event, row)}
        status, answer = 200, ask(body, id_, row)
    except Refused as refused:
        status, answer = refused.status, {"error": {"type": refused.type, "message": str(refused)}}
        if path.endswith("/feedback"):
            return respond(status, answer, id_)
    except Exception as error:
        logging.exception("request %s", id_)
        complain(id_, "unforeseen", error)
        status, answer = 500, {"error": FAILED}
    keep(id_, started, status, event, json.dumps(answer), row)
    return respond(status, {**answer, "request_id": id_, "variant": row.get("variant", "")}, id_)


def read(event: dict[str, Any]) -> dict[str, Any]:
    """The body as an object. Raises `Refused`."""
    raw = event.get("body") or ""
    # API Gateway encodes what is declared as anything but JSON.
    text = base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode()
    if len(text) > LONGEST_BODY:
        raise Refused(413, "too_large", f"The body has more than {LONGEST_BODY:,} bytes.")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "invalid_request", "The body is no JSON.") from error
    if not isinstance(body, dict):
        raise Refused(400, "invalid_request", "The body must be a JSON object.")
    return body


def checked(body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the model is asked, and which variant of it. Raises `Refused`."""
    prompt, messages = body.get("prompt"), body.get("messages")
    if not messages and not (isinstance(prompt, str) and prompt):
        raise Refused(400, "invalid_request", 'The body needs "messages", as OpenAI has them, or a text "prompt".')
    tokens = body.get("max_tokens", 256)
    if type(tokens) is not int or not 1 <= tokens <= MOST_TOKENS:
        raise Refused(400, "invalid_request", f'"max_tokens" is a whole number from 1 to {MOST_TOKENS:,}.')
    if body.get("variant") not in (None, "", "A", "B"):
        raise Refused(400, "invalid_request", '"variant" is "A" or "B".')
    # There is one model behind an endpoint, and vLLM refuses any other name for it than its own.
    asked = {key: value for key, value in body.items() if key not in ("prompt", "variant", "model")}
    asked |= {"messages": messages or [{"role": "user", "content": prompt}], "max_tokens": tokens}
    return asked, target(body)


def target(body: dict[str, Any]) -> dict[str, str]:
    """Who answers: a component by the request's model, a variant that it names, or whom SageMaker draws."""
    if COMPONENTS:
        if (name := COMPONENTS.get(str(body.get("model")))) is None:
            raise Refused(404, "model_not_found", f'"model" is one of {", ".join(COMPONENTS)}.')
        return {"InferenceComponentName": name}
    return {"TargetVariant": body["variant"]} if body.get("variant") else {}


def ask(body: dict[str, Any], id_: str, row: dict[str, Any]) -> dict[str, Any]:
    """The model's answer, in the shape that was asked in. Raises `Refused`; fills in the log's `row`."""
    asked, who = checked(body)
    with asking(id_):
        found = _model.invoke_endpoint(**request(asked, id_, who))
        row["variant"] = body["model"] if COMPONENTS else found.get("InvokedProductionVariant") or "A"
        answer: dict[str, Any] = json.loads(found["Body"].read())
    count(answer, row)
    if body.get("messages"):
        return answer
    try:
        said = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        complain(id_, "answer of another shape", error)
        raise Refused(*REFUSALS["ModelError"]) from error
    return {"completion": said, "usage": answer.get("usage") or {}}


def stream(body: dict[str, Any], id_: str, started: float, row: dict[str, Any]) -> Iterator[bytes]:
    """OpenAI's events as the model makes them, up to its `[DONE]`. Raises `Refused`; fills in the log's `row`."""
    asked, who = checked(body)
    options = asked.get("stream_options") or {}
    if not isinstance(options, dict):
        raise Refused(400, "invalid_request", '"stream_options" is an object.')
    # The log counts tokens, whether the caller asked for them or not.
    asked["stream_options"] = {**options, "include_usage": True}
    with asking(id_):
        found = _model.invoke_endpoint_with_response_stream(**request(asked, id_, who))
        row["variant"] = body["model"] if COMPONENTS else found.get("InvokedProductionVariant") or "A"
        for line in lines(found["Body"]):
            if time.time() - started > LONGEST_STREAM:
                raise Refused(504, "timeout", f"The answer took longer than {LONGEST_STREAM} seconds.")
            if line == b"[DONE]":
                yield b"data: [DONE]\n\n"
                return
            event = json.loads(line)
            if "error" in event:
                complain(id_, "the model failed in its answer", RuntimeError(str(event["error"])))
                raise Refused(*REFUSALS["ModelError"])
            count(event, row)
            if event.get("choices") or options.get("include_usage"):
                yield b"data: " + line + b"\n\n"
    raise Refused(502, "model_error", "The model stopped before the end of its answer.")


def lines(parts: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The data of each event; SageMaker cuts them anywhere."""
    held = b""
    for part in parts:
        *whole, held = (held + part["PayloadPart"]["Bytes"]).split(b"\n")
        yield from (line[5:].strip() for line in whole if line.startswith(b"data:"))


def told(
    first: bytes, rest: Iterator[bytes], id_: str, started: float, event: dict[str, Any], row: dict[str, Any]
) -> Iterator[bytes]:
    """The events, an error as the last of them where there is one, and the log's row once they are over."""
    status, said = 200, b""
    try:
        for each in chain([first], rest):
            said += each if LOG_BODIES else b""
            yield each
    except Refused as refused:
        status = refused.status
        yield last_words({"type": refused.type, "message": str(refused)}, id_)
    except Exception as error:
        logging.exception("request %s", id_)
        complain(id_, "unforeseen", error)
        status = 500
        yield last_words(FAILED, id_)
    finally:
        keep(id_, started, status, event, said.decode("utf-8", "replace"), row)


def last_words(error: dict[str, str], id_: str) -> bytes:
    """An error as an event: the status is sent already."""
    return b"data: " + json.dumps({"error": error, "request_id": id_}).encode() + b"\n\n"


def request(asked: dict[str, Any], id_: str, target: dict[str, str]) -> dict[str, Any]:
    """As SageMaker takes it."""
    body = json.dumps(asked).encode()
    return {"EndpointName": ENDPOINT, "ContentType": "application/json", "InferenceId": id_, "Body": body, **target}


def count(answer: dict[str, Any], row: dict[str, Any]) -> None:
    """The tokens, where the answer says them."""
    if usage := answer.get("usage"):
        row["input_tokens"] = int(usage.get("prompt_tokens") or 0)
        row["output_tokens"] = int(usage.get("completion_tokens") or 0)


@contextmanager
def asking(id_: str) -> Iterator[None]:
    """What the endpoint refuses inside becomes `Refused`."""
    try:
        yield
    except ClientError as error:
        complain(id_, "the endpoint refused", error)
        told = REFUSALS.get(error.response["Error"]["Code"], (502, "model_error", "The model cannot be asked now."))
        raise Refused(*told) from error
    except ValueError as error:
        complain(id_, "answer of another shape", error)
        raise Refused(*REFUSALS["ModelError"]) from error
    except (BotoCoreError, ReadTimeoutError) as error:
        complain(id_, "the endpoint did not answer", error)
        raise Refused(504, "timeout", f"The model did not answer in {SECONDS} seconds.") from error
    except HTTPError as error:
        complain(id_, "the answer broke off", error)
        raise Refused(*REFUSALS["InternalStreamFailure"]) from error


def feedback(body: dict[str, Any]) -> dict[str, Any]:
    """Keep what a person thought of an answer beside its request. Raises `Refused`."""
    id_, score = body.get("request_id"), body.get("score")
    if not isinstance(id_, str) or isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise Refused(400, "invalid_request", 'Feedback is {"request_id": …, "score": a number from 0 to 1}.')
    try:
        _table.update_item(
            Key={"id": id_},
            UpdateExpression="SET score = :score",
            ConditionExpression="attribute_exists(id)",
            ExpressionAttributeValues={":score": Decimal(str(round(score, 6)))},
        )
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            raise Refused(404, "not_found", "There is no such request in the log.") from error
        complain(id_, "feedback was not kept", error)
        raise Refused(503, "unavailable", "The feedback could not be kept; send it again.") from error
    return {"request_id": id_, "score": score}


def since(started: float) -> int:
    """Milliseconds."""
    return int((time.time() - started) * 1000)


def keep(id_: str, started: float, status: int, event: dict[str, Any], said: str, row: dict[str, Any]) -> None:
    """One row in the log, and the numbers of it."""
    milliseconds = since(started)
    log(id_, started, status, milliseconds, event, said, row)
    measure(status, milliseconds, row, id_)


def log(
    id_: str, started: float, status: int, milliseconds: int, event: dict[str, Any], said: str, row: dict[str, Any]
) -> None:
    """A log that cannot be written is no reason to keep an answer back."""
    at = datetime.fromtimestamp(started, UTC)
    identity = (event.get("requestContext") or {}).get("identity") or {}
    item = {
        "id": id_,
        "day": at.strftime("%Y-%m-%d"),
        "at": at.isoformat(),
        "key": identity.get("apiKeyId") or "",
        "status": status,
        "milliseconds": milliseconds,
        "ttl": int(started) + KEPT_DAYS * 86400,
        **row,
    }
    if LOG_BODIES:
        item |= {"request": str(event.get("body"))[:20_000], "response": said[:20_000]}
    try:
        _table.put_item(Item=item)
    except (ClientError, BotoCoreError) as error:
        complain(id_, "the request was not logged", error)


def measure(status: int, milliseconds: int, row: dict[str, Any], id_: str) -> None:
    """CloudWatch makes metrics of this line: no call, no wait."""
    names = {"Latency": "Milliseconds", "Requests": "Count", "Errors": "Count", "OutputTokens": "Count"}
    metrics = {
        "Namespace": "Pumice",
        "Dimensions": [["Endpoint", "Variant"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in names.items()],
    }
    values = {"Latency": milliseconds, "Requests": 1, "Errors": int(status >= 500)}
    print(
        json.dumps(
            {
                "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [metrics]},
                "Endpoint": ENDPOINT,
                "Variant": row.get("variant", "-"),
                "OutputTokens": row.get("output_tokens", 0),
                "request_id": id_,
                "status": status,
                **values,
            }
        )
    )


def complain(id_: str, what: str, error: BaseException) -> None:
    """For whoever runs this, never for whoever calls it."""
    print(
        json.dumps(
            {"level": "ERROR", "request_id": id_, "what": what, "error": f"{type(error).__name__}: {error}"[:500]}
        )
    )


def respond(status: int, body: dict[str, Any], id_: str) -> dict[str, Any]:
    """As API Gateway reads it."""
    headers = headers_of(id_, "application/json")
    return {"statusCode": status, "headers": headers, "body": json.dumps(body), "isBase64Encoded": False}


def headers_of(id_: str, kind: str) -> dict[str, str]:
    """Of every answer; a page from elsewhere may read them."""
    shown = {"access-control-allow-origin": "*", "access-control-expose-headers": "x-request-id,x-variant"}
    return {"content-type": kind, "x-request-id": id_, **shown}
