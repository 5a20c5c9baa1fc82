"""The gate in front of every route: who is calling, on either wire? Knows nothing of models or engines."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pumice.api.aws import signature
from pumice.api.aws.errors import AwsError
from pumice.api.aws.refusals import refuse
from pumice.api.identity import Identity, Valid, is_loopback
from pumice.api.openai.refusals import Refusal, from_error
from pumice.api.roles import Access, Caller, action_of
from pumice.api.sessions import PATH as SESSION
from pumice.api.sessions import Sessions, check_own
from pumice.errors import DeniedError, InputError

OPEN_PATHS = frozenset({"/healthz"})
PAGES = ("/console", "/console/")
"""The console's files, which hold no secret: what they show is asked for with a key."""
MAX_AWS_BODY = 25_000_000
"""Bytes, as Bedrock says of InvokeModel. A signed body is read whole before it is believed."""
MAX_JSON_BODY = 10_000_000
"""Bytes of a body on OpenAI's wire: far beyond any window, and small enough to be read into memory."""

# What the OpenAI wire calls it, under the name that AWS's clients know.
_AWS_CODES = {
    "invalid_api_key": "UnrecognizedClientException",
    "missing_api_key": "MissingAuthenticationTokenException",
    "too_large": "RequestEntityTooLargeException",
    "internal_error": "InternalFailure",
}


def body_limit(scope: Scope) -> int | None:
    """Bytes that a request's body may have; None for what is streamed to disk."""
    service = signature.service_of(scope)
    if service == "s3" or scope["path"] in ("/v1/files", "/openai/v1/files"):
        return None
    openai = service is None and scope["path"].startswith(("/v1/", "/openai/v1/", "/api/"))
    return MAX_JSON_BODY if openai else MAX_AWS_BODY


class Gate:
    """Lets a request in with its `Caller` in `scope["caller"]`, or answers 401 or 403 in the words of its wire.

    Beyond loopback a key and TLS are always asked for, even if the last key was revoked while the server runs.
    """

    def __init__(self, app: ASGIApp, keys: Identity, host: str) -> None:
        self._app, self._keys, self._local = app, keys, is_loopback(host)
        self._sessions = Sessions(keys.vault)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = Body(receive)
        try:
            scope["caller"] = await self._caller(scope, body)
        except _HungUpError:
            return
        except (Refusal, AwsError) as refusal:
            await worded(scope, refusal)(scope, receive, send)
            return
        await self._app(scope, body.receive, send)

    async def _caller(self, scope: Scope, body: Body) -> Caller:
        if scope["path"] in OPEN_PATHS or _is_page(scope):
            return Caller(None, "none", None)
        valid = await self._keys.current()
        if self._local and not valid.keys:
            _refuse_foreign(Headers(scope=scope))
            return Caller(None, _access(scope), signature.service_of(scope))
        if not self._local and scope["scheme"] != "https":
            message = "Over plain HTTP anyone on the way could read the key: start the server with `pumice serve --tls`"
            raise Refusal(403, f"{message} and call https://.", code="tls_required")
        if scope["path"] == SESSION and scope["method"] in ("POST", "DELETE"):
            check_own(scope)
            return Caller(None, "none", None)
        caller = await self._signer(scope, body, valid) or self._sitter(scope, valid) or _bearer(scope, valid)
        try:
            if caller.service == "s3":
                caller.need("read" if scope["method"] in ("GET", "HEAD") else "train")
            elif caller.service is None and (action := action_of(scope["method"], scope["path"])):
                caller.need(action)
        except DeniedError as error:
            raise from_error(error) from error
        return caller

    async def _signer(self, scope: Scope, body: Body, valid: Valid) -> Caller | None:
        """Who signed the request with SigV4, None when nobody did.

        Only a body for S3 is left to be checked, against the hash that was signed: it may be larger than the memory.
        """
        signed = signature.read(scope)
        if signed is None:
            return None
        key = valid.by_access_key.get(signed.access_key)
        if key is None:
            sentence = f"The access key {signed.access_key!r} is unknown or revoked."
            raise AwsError("UnrecognizedClientException", f"{sentence} `pumice keys list` shows the valid ones.", 403)
        signature.check_time(signed, datetime.now(UTC))
        content = b"" if signed.service == "s3" else await body.whole()
        try:
            secret = self._keys.secret_of(signed.access_key)
        except InputError as error:
            raise AwsError("InternalFailure", " ".join(str(error).split()), 500) from error
        signature.verify(signed, scope, secret or "", signature.payload_of(signed, scope, content))
        return Caller(key, "sigv4", signed.service)

    def _sitter(self, scope: Scope, valid: Valid) -> Caller | None:
        """Who sits in front of the console, None for a request without its cookie. What else names a key goes first."""
        if "authorization" in Headers(scope=scope):
            return None
        key = self._sessions.key_of(scope, valid)
        return Caller(key, "session", None) if key else None


class Body:
    """A request's body: `receive` gives it to the app, also after `whole` has read it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: bytes | None = None

    async def whole(self) -> bytes:
        """All of it. Raises `AwsError` when that is too much."""
        parts, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _HungUpError
            parts.append(message.get("body", b""))
            size, more = size + len(parts[-1]), message.get("more_body", False)
            if size > MAX_AWS_BODY:
                sentence = f"The body is larger than {MAX_AWS_BODY // 1_000_000} MB."
                raise AwsError("RequestEntityTooLargeException", sentence, 413)
        self._read = b"".join(parts)
        return self._read

    async def receive(self) -> Message:
        """The next ASGI message."""
        if self._read is not None:
            content, self._read = self._read, None
            return {"type": "http.request", "body": content, "more_body": False}
        return await self._receive()


class _HungUpError(Exception):
    """The caller left before its request was whole."""


def _is_page(scope: Scope) -> bool:
    page = scope["path"] in ("/", PAGES[0]) or scope["path"].startswith(PAGES[1])
    return page and scope["method"] in ("GET", "HEAD") and signature.service_of(scope) is None


def _access(scope: Scope) -> Access:
    if signature.service_of(scope):
        return "sigv4"
    return "bearer" if Headers(scope=scope).get("authorization", "").lower().startswith("bearer ") else "none"


def _bearer(scope: Scope, valid: Valid) -> Caller:
    scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise _unknown(
            "This server asks for an API key: send `Authorization: Bearer sk-pumice-…`, or sign.", "missing_api_key"
        )
    if (key := valid.bearer(secret.strip())) is None:
        raise _unknown("This API key is unknown or revoked. `pumice keys list` shows the valid ones.")
    return Caller(key, "bearer", None)


def _refuse_foreign(headers: Headers) -> None:
    """Without keys only this machine may ask: a web page elsewhere can point its own name at 127.0.0.1."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
        # Pictures and scripts of a page elsewhere come without an Origin.
        message = (
            "A web page elsewhere asks. While no API key exists, only programs and pages of this machine are answered."
        )
        raise Refusal(403, message, code="foreign_host")
    asked = {"Host": urlsplit(f"//{host}").hostname}
    if origin is not None:
        asked["Origin"] = urlsplit(origin).hostname
    foreign = next((header for header, name in asked.items() if not is_loopback(name or "")), None)
    if foreign is not None:
        message = (
            f"{foreign} {headers[foreign]!r} is not this machine. While no API key exists, only programs here that "
            "call localhost, 127.0.0.1 or [::1] are answered. `pumice keys create NAME` makes a key."
        )
        raise Refusal(403, message, code="foreign_host")


def _unknown(message: str, code: str = "invalid_api_key") -> Refusal:
    return Refusal(401, message, code=code, headers={"WWW-Authenticate": "Bearer"})


def worded(scope: Scope, refusal: Refusal | AwsError) -> Response:
    """A refusal in the shape of the wire that the request came on."""
    service = signature.service_of(scope)
    # Every AWS client sends this header, signed or not: Bedrock's bearer keys come without a signature.
    aws = service is not None or "amz-sdk-invocation-id" in Headers(scope=scope)
    if isinstance(refusal, AwsError):
        return refuse(service, refusal)
    if not aws:
        return refusal.response()
    code = _AWS_CODES.get(refusal.code or "", "AccessDeniedException")
    # What is not known is as forbidden as what is not allowed, where AWS's services are asked.
    return refuse(service, AwsError(code, refusal.message, 403 if refusal.status == 401 else refusal.status))
