"""The server as one ASGI app: both wires on one port. Knows no torch: engines are child processes.

A request goes through `Edge` (id, count, size, log, unforeseen errors) and `Gate` (keys); then its signature says
whether it is AWS's (`Signed`), and everything else is a route of FastAPI's.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pumice import __version__
from pumice.api.aws.app import Aws, attend
from pumice.api.aws.errors import AwsError
from pumice.api.aws.s3.app import S3
from pumice.api.aws.signature import chunk_signer, service_of
from pumice.api.console import pages
from pumice.api.console.exports import Exports
from pumice.api.console.routes import router as console
from pumice.api.exchange import Exchange
from pumice.api.gate import MAX_AWS_BODY, Gate, body_limit, worded
from pumice.api.identity import Identity
from pumice.api.openai import (
    batches,
    chat,
    classify,
    completions,
    embeddings,
    files,
    fine_tuning,
    models,
    refusals,
    responses,
)
from pumice.api.platform import Platform

LOGGER = logging.getLogger(__name__)
ROUTES = ("/v1", "/openai/v1", "/api", "/console", "/metrics", "/healthz", "/openapi.json")
"""Where an unsigned request is meant for FastAPI, whatever AWS may have there."""


def create_app(platform: Platform, host: str) -> FastAPI:
    """The app over an open platform. `host` is where it will listen, which decides whether keys are asked for.

    Whoever serves it checks `identity.may_bind` first. Engines start when first asked for, and end with the app.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with platform.running():
            yield

    platform.batches.register(batches.RUNNER, batches.OpenAiRunner(platform))
    # The pages that FastAPI offers for its schema load scripts from elsewhere; the schema itself stays.
    app = FastAPI(title="Pumice", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    refusals.install(app)
    attend(platform)
    platform.parts.append(Exports(platform))
    keys = Identity(platform.database, platform.home)
    app.add_middleware(Signed, aws=Aws(platform, S3(platform.home.s3, partial(chunk_signer, keys.secret_of))))
    app.add_middleware(Gate, keys=keys, host=host)
    app.add_middleware(Edge, platform=platform)
    for prefix, in_schema in (("/v1", True), ("/openai/v1", False)):
        for part in (models, chat, completions, responses, embeddings, classify, files, fine_tuning, batches):
            app.include_router(part.router(platform), prefix=prefix, include_in_schema=in_schema)

    app.include_router(console(platform, keys))
    app.include_router(pages.router())

    @app.get("/healthz")
    async def healthz() -> Mapping[str, str]:
        """Whether the server runs. Engines start on demand and do not count."""
        return {"status": "ok", "version": __version__}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times in Prometheus' text form."""
        return Response(await platform.measure(), media_type=CONTENT_TYPE_LATEST)

    return app


class Signed:
    """Sends what is signed for an AWS service there, and what is unsigned where a route fits."""

    def __init__(self, app: ASGIApp, aws: Aws) -> None:
        self._app, self._aws = app, aws

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service(scope) if scope["type"] == "http" else None
        if service:
            await self._aws.answer(service, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _service(self, scope: Scope) -> str | None:
        caller = scope["caller"]
        Exchange.of(scope).key = caller.key
        if caller.service:
            return str(caller.service)
        ours = any(scope["path"] == route or scope["path"].startswith(f"{route}/") for route in ROUTES)
        return None if ours else self._aws.takes(Request(scope))


class Edge:
    """The outermost layer: names each request, counts it, logs it, and answers for errors nobody foresaw."""

    def __init__(self, app: ASGIApp, platform: Platform) -> None:
        self._app, self._platform = app, platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope["exchange"] = Exchange(f"req-{uuid.uuid4().hex}")
        limit = body_limit(scope)
        status = received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if limit and received > limit:
                # Each wire catches its own, and says it in its own shape.
                aws = AwsError("RequestEntityTooLargeException", refusals.too_large(limit).message, 413)
                raise aws if limit == MAX_AWS_BODY else HTTPException(413)
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                # botocore reads the second.
                headers["x-request-id"] = headers["x-amzn-requestid"] = exchange.id
                headers["x-content-type-options"] = "nosniff"
                if service_of(scope) == "s3":
                    # A page that lies in a bucket must not act as this server's own.
                    headers["content-security-policy"] = "sandbox"
            await send(message)

        try:
            declared = Headers(scope=scope).get("content-length", "")
            if limit and declared.isdecimal() and int(declared) > limit:
                await worded(scope, refusals.too_large(limit))(scope, receive, sending)
            else:
                await self._app(scope, receiving, sending)
        except AwsError as refusal:
            if not status:
                await worded(scope, refusal)(scope, receive, sending)
        except Exception:
            LOGGER.exception("request %s failed", exchange.id)
            if not status:
                await worded(scope, refusals.unforeseen(exchange.id))(scope, receive, sending)
        finally:
            # A path that no route takes is counted as one, or a stranger could fill the memory with counters.
            route = scope.get("route")
            name = route.path if isinstance(route, APIRoute) else exchange.operation or "other"
            self._platform.answered(exchange, name, scope["method"], status)
