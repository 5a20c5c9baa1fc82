"""Between API Gateway and the endpoint: checks a request, asks, and leaves one row in the request log.

Needs nothing but boto3. The addresses of what it calls come from boto3's own variables, so tests run this very file.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT = os.environ["ENDPOINT_NAME"]
LOG_BODIES = os.environ.get("LOG_BODIES") == "1"
LONGEST_BODY = 200_000
MOST_TOKENS = 4096
KEPT_DAYS = 30
SECONDS = 24
"""Below the function's own limit, which is below the gateway's: whoever waits too long reads why."""

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
}
"""By AWS's code. What AWS says itself may name roles and accounts, so it stays in the log."""


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
        status, answer = 200, ask(body, id_, row)
    except Refused as refused:
        status, answer = refused.status, {"error": {"type": refused.type, "message": str(refused)}}
        if path.endswith("/feedback"):
            return respond(status, answer, id_)
    except Exception as error:
        logging.exception("request %s", id_)
        complain(id_, "unforeseen", error)
        status, answer = 500, {"error": {"type": "internal", "message": "The gateway failed; its log says why."}}
    milliseconds = int((time.time() - started) * 1000)
    log(id_, started, status, milliseconds, event, answer, row)
    measure(status, milliseconds, row, id_)
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


def ask(body: dict[str, Any], id_: str, row: dict[str, Any]) -> dict[str, Any]:
    """The model's answer, in the shape that was asked in. Raises `Refused`; fills in the log's `row`."""
    prompt, messages = body.get("prompt"), body.get("messages")
    if not messages and not (isinstance(prompt, str) and prompt):
        raise Refused(400, "invalid_request", 'The body needs "messages", as OpenAI has them, or a text "prompt".')
    if body.get("stream"):
        raise Refused(400, "invalid_request", 'This gateway answers in one piece: leave "stream" out.')
    tokens = body.get("max_tokens", 256)
    if type(tokens) is not int or not 1 <= tokens <= MOST_TOKENS:
        raise Refused(400, "invalid_request", f'"max_tokens" is a whole number from 1 to {MOST_TOKENS:,}.')
    if body.get("variant") not in (None, "", "A", "B"):
        raise Refused(400, "invalid_request", '"variant" is "A" or "B".')
    asked = {key: value for key, value in body.items() if key not in ("prompt", "variant")}
    asked |= {"messages": messages or [{"role": "user", "content": prompt}], "max_tokens": tokens}
    target = {"TargetVariant": body["variant"]} if body.get("variant") else {}
    answer = invoke(json.dumps(asked).encode(), id_, target, row)
    usage = answer.get("usage") or {}
    row["input_tokens"] = int(usage.get("prompt_tokens") or 0)
    row["output_tokens"] = int(usage.get("completion_tokens") or 0)
    if messages:
        return answer
    try:
        said = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        complain(id_, "answer of another shape", error)
        raise Refused(502, "model_error", "The model failed on this request.") from error
    return {"completion": said, "usage": usage}


def invoke(body: bytes, id_: str, target: dict[str, str], row: dict[str, Any]) -> dict[str, Any]:
    """Ask the endpoint. Raises `Refused`."""
    try:
        found = _model.invoke_endpoint(
            EndpointName=ENDPOINT, ContentType="application/json", InferenceId=id_, Body=body, **target
        )
        row["variant"] = found.get("InvokedProductionVariant") or "A"
        answer: dict[str, Any] = json.loads(found["Body"].read())
        return answer
    except ClientError as error:
        complain(id_, "the endpoint refused", error)
        told = REFUSALS.get(error.response["Error"]["Code"], (502, "model_error", "The model cannot be asked now."))
        raise Refused(*told) from error
    except (BotoCoreError, ValueError) as error:
        complain(id_, "the endpoint did not answer", error)
        raise Refused(504, "timeout", f"The model did not answer in {SECONDS} seconds.") from error


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


def log(
    id_: str, started: float, status: int, milliseconds: int, event: dict[str, Any], answer: Any, row: dict[str, Any]
) -> None:
    """One row. A log that cannot be written is no reason to keep an answer back."""
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
        item |= {"request": str(event.get("body"))[:20_000], "response": json.dumps(answer)[:20_000]}
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
    headers = {"content-type": "application/json", "x-request-id": id_, "access-control-allow-origin": "*"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body), "isBase64Encoded": False}
