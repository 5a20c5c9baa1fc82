"""Every failure in OpenAI's shape: status, message, type, param, code. Knows no route and no model."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pumice.errors import (
    ConflictError,
    DeniedError,
    ExhaustedError,
    InputError,
    NotFoundError,
    PumiceError,
    RequestError,
    StoppedError,
)

RETRY_SECONDS = 2
"""How long a client waits before it asks a restarting engine again."""


LONGEST_WORD = 200
"""Characters of a word that is compared with known ones."""


class Refusal(Exception):
    """A request that is answered with an error; the status decides OpenAI's error type."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """`{"error": …}` as OpenAI writes it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, self.headers)


def from_error(error: PumiceError) -> Refusal:
    """What to tell the caller of a failure that was foreseen."""
    message = " ".join(str(error).splitlines())
    match error:
        case NotFoundError():
            return Refusal(404, message, param="model", code="model_not_found")
        case RequestError():
            return Refusal(400, message, param=error.field or None, code=error.code)
        case ConflictError():
            return Refusal(409, message, code="conflict")
        case DeniedError():
            return Refusal(403, message, code="forbidden")
        case InputError():
            return Refusal(400, message)
        case ExhaustedError():
            return Refusal(429, message, code="rate_limit_exceeded", headers={"Retry-After": str(error.seconds)})
        case StoppedError():
            return Refusal(499, message)
    return Refusal(503, message, code="unavailable", headers={"Retry-After": str(RETRY_SECONDS)})


def unforeseen(request_id: str) -> Refusal:
    """What to tell the caller of any other; the log has the traceback under the same id."""
    return Refusal(500, f"The server failed; its log holds the reason under {request_id}.", code="internal_error")


def too_large(limit: int = 10_000_000) -> Refusal:
    """What to tell the caller of a body of more than `limit` bytes; by default that is `gate.MAX_JSON_BODY`."""
    return Refusal(413, f"The body is larger than {limit // 1_000_000} MB.", code="too_large")


def near(word: str, known: Collection[str]) -> str:
    """`Did you mean …?` with the nearest known words, or nothing."""
    # Comparing costs time and memory by the length, and a word this long is no slip of a finger.
    found = difflib.get_close_matches(word, sorted(known), n=3) if len(word) <= LONGEST_WORD else []
    return f" Did you mean {' or '.join(repr(match) for match in found)}?" if found else ""


def install(app: FastAPI) -> None:
    """Answer everything that FastAPI refuses by itself in the same shape."""
    app.add_exception_handler(Refusal, _answer_refusal)
    app.add_exception_handler(PumiceError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)


async def _answer_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return error.response()


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PumiceError)
    return from_error(error).response()


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    messages = {
        404: f"Unknown request URL: {request.method} {request.url.path}.",
        405: f"{request.url.path} does not take {request.method}.",
        413: too_large().message,
    }
    message = messages.get(error.status_code, str(error.detail))
    return Refusal(error.status_code, message, headers=error.headers).response()


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return invalid(error.errors()[0]).response()


def invalid(first: Mapping[str, Any]) -> Refusal:
    """One pydantic finding as OpenAI words it: the field in the user's own path and the rule."""
    place = _place([*first["loc"][1:], *([first["ctx"]["name"]] if "name" in first.get("ctx", {}) else [])])
    given = "" if first["input"] is None or len(repr(first["input"])) > 80 else f", got {first['input']!r}"
    match first["type"]:
        case "json_invalid":
            return Refusal(400, f"The body is not JSON: {first['ctx']['error']} (at character {first['loc'][-1]}).")
        case "missing" if not place:
            return Refusal(400, "The request has no body. Send JSON.")
        case "missing":
            return Refusal(400, f"Missing required parameter: '{place}'.", place, "missing_required_parameter")
        case "unknown":
            return Refusal(400, f"{first['msg']}: {place}.{first['ctx']['near']}", place, "unknown_parameter")
        case "conflict":
            return Refusal(400, f"{first['msg']}.", place, "invalid_value")
        case "unsupported":
            return Refusal(400, f"'{place}' is not supported: {first['msg']}", place, "unsupported_parameter")
        case "model_attributes_type":
            return Refusal(400, "The body is not a JSON object. Send one, with `Content-Type: application/json`.")
    rule = first["msg"].removeprefix("Value error, ")
    return Refusal(400, f"Invalid '{place}': {rule[:1].lower()}{rule[1:]}{given}.", place, "invalid_value")


def _place(loc: Sequence[str | int]) -> str:
    """`messages[0].role` out of `("messages", 0, "role")`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc).removeprefix(".")
