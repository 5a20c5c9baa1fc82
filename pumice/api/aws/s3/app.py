"""S3 as an ASGI app: requests are put into the words that nanio knows, and run beside the server's event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlencode
from xml.sax.saxutils import escape

from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings
from nanio.errors import InvalidObjectName, NoSuchUpload, NotImplemented_, S3Error
from nanio.handlers.bucket import dispatch_bucket
from nanio.keys import validate_object_key
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pumice.api.aws.s3.body import ChunkSigner, checked
from pumice.api.aws.s3.storage import Buckets, decode_token
from pumice.store.s3 import LONGEST_PART

THREADS = 8
"""Requests at once; the others wait, and no answer of a model waits for them."""
SUBRESOURCES = frozenset(
    """
    accelerate acl analytics cors encryption intelligent-tiering inventory legal-hold lifecycle logging metrics
    notification object-lock ownershipControls policy policyStatus publicAccessBlock replication requestPayment
    restore retention select tagging torrent versioning versions website attributes renameObject
    """.split()  # noqa: SIM905
)
"""What a query may name besides a bucket or an object, and nanio does not know: it would do something else."""
T = TypeVar("T")
_TOKEN = re.compile(rb"<NextContinuationToken>(.*?)</NextContinuationToken>")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{1,200}")


class S3:
    """The S3 API over one folder."""

    def __init__(self, root: Path, signer: Callable[[Scope], ChunkSigner | None] = lambda scope: None) -> None:
        """`signer` gives what checks the chunks of a signed upload, None where nothing is checked."""
        root.mkdir(parents=True, exist_ok=True)
        nobody = StaticCredentialResolver({"none": "none"})
        # The gate has checked the signature, with a clock, keys and roles that nanio does not know.
        self._nanio = build_app(Settings(data_dir=root, credentials=nobody, auth_disabled=True))
        self._nanio.state.storage = Buckets(root)
        self._nanio.add_exception_handler(HTTPException, _refuse)
        for path in ("/{bucket}", "/{bucket}/"):
            self._nanio.router.routes.insert(0, Route(path, read_bucket, methods=["GET"]))
        self._root, self._signer = root, signer
        self._threads = ThreadPoolExecutor(THREADS, "s3")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            scope = self._worded(scope)
        except S3Error as error:
            await Response(error.to_xml(), error.http_status, media_type="application/xml")(scope, receive, send)
            return
        await beside(self._threads, self._nanio, scope, checked(receive, headers, self._signer(scope)), send)

    def _worded(self, scope: Scope) -> Scope:
        """The request as nanio reads it right. Raises `S3Error` for what it would take for something else."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if unknown := next((name for name, _ in query if name in SUBRESOURCES), None):
            raise NotImplemented_(f"?{unknown} of S3 is not served by Pumice.")
        _check_key(unquote(scope["raw_path"].decode()))
        if any(name == "uploadId" and not _UPLOAD.fullmatch(value) for name, value in query):
            raise NoSuchUpload
        names = {name for name, _ in query}
        if "marker" in names and "list-type" not in names:
            # The first version of ListObjects goes on behind a key.
            query = [("start-after" if name == "marker" else name, value) for name, value in query]
        worded = {**scope, "query_string": urlencode(query).encode(), "headers": list(scope["headers"])}
        headers = MutableHeaders(scope=worded)
        encodings = [each.strip() for each in headers.get("content-encoding", "").split(",")]
        if "aws-chunked" in encodings:
            headers["content-encoding"] = ",".join(each for each in encodings if each != "aws-chunked")
        if scope["method"] == "GET" and "range" in headers:
            self._clip(headers, unquote(scope["raw_path"].decode()))
        return worded

    def _clip(self, headers: MutableHeaders, path: str) -> None:
        """A range within the object; one that nobody can read is left out, as HTTP has it."""
        file = (self._root / path.lstrip("/")).resolve()
        found = _RANGE.fullmatch(headers["range"].strip())
        if not found or not file.is_relative_to(self._root.resolve()) or not file.is_file():
            del headers["range"]
            return
        size, (first, last) = file.stat().st_size, found.groups()
        start = int(first) if first else max(0, size - int(last or 0))
        end = min(int(last), size - 1) if first and last else size - 1
        if start > end:
            raise UnsatisfiableRange(f"The range {headers['range']} lies outside the object's {size:,} bytes.")
        headers["range"] = f"bytes={start}-{end}"


async def read_bucket(request: Request) -> Response:
    """nanio's answer, which is one of ListObjectsV2; for the first version with the marker that it pages by."""
    response: Response = await dispatch_bucket(request)
    told = _TOKEN.search(response.body)
    if "list-type" in request.query_params or told is None:
        return response
    marker = b"<NextMarker>" + escape(decode_token(told[1].decode())).encode() + b"</NextMarker>"
    return Response(_TOKEN.sub(lambda _: marker, bytes(response.body)), media_type="application/xml")


def _check_key(path: str) -> None:
    """Raises `S3Error` for a key that no disk takes, as nanio does not look at all of them before it opens a file."""
    key = path.lstrip("/").partition("/")[2]
    if not key:
        return
    validate_object_key(key)
    if ".." in key.replace("\\", "/").split("/"):
        raise InvalidObjectName("object key may not contain `..` between backslashes")
    if any(len(part.encode()) > LONGEST_PART for part in key.split("/")):
        raise InvalidObjectName(f"what is between two slashes of an object key has at most {LONGEST_PART} bytes")


async def _refuse(request: Request, error: Exception) -> Response:
    """What nanio's router refuses, in S3's shape."""
    assert isinstance(error, HTTPException)
    told = MethodNotAllowed() if error.status_code == 405 else S3Error(str(error.detail))
    return Response(told.to_xml(), error.status_code, media_type="application/xml")


class MethodNotAllowed(S3Error):
    """S3's `MethodNotAllowed`."""

    code = "MethodNotAllowed"
    message = "The specified method is not allowed against this resource."
    http_status = 405


class UnsatisfiableRange(S3Error):
    """S3's `InvalidRange`."""

    code = "InvalidRange"
    http_status = 416


async def beside(threads: ThreadPoolExecutor, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run one request of `app`, which reads and writes files as it likes, in a thread with a loop of its own."""
    ours = asyncio.get_running_loop()

    async def receiving() -> Message:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(receive()), ours))

    async def sending(message: Message) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(send(message)), ours))

    await ours.run_in_executor(threads, lambda: asyncio.run(_awaited(app(scope, receiving, sending))))


async def _awaited(work: Awaitable[T]) -> T:
    return await work
