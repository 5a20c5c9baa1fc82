"""The server as one ASGI app: routes, the gate, errors, counts. Knows no torch: engines are child processes.

A request goes through `Edge` (id, count, size, unforeseen errors) and `Gate` (keys) to its route.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import sqlalchemy
from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pumice import __version__
from pumice.api.identity import Gate, Identity
from pumice.api.metrics import Metrics
from pumice.api.openai import chat, completions, models, refusals
from pumice.api.openai.generation import Service
from pumice.api.served import Names
from pumice.config import Home
from pumice.engine.pool import Pool
from pumice.registry.models import Registry

LOGGER = logging.getLogger(__name__)
MAX_BODY = 10_000_000
"""Bytes: far beyond any window, and small enough to be read into memory."""


def create_app(home: Home, database: sqlalchemy.Engine, host: str) -> FastAPI:
    """The app for one home. `host` is the address that it will listen on, as it decides whether keys are asked for.

    Whoever serves it checks `identity.may_bind` first. Engines start when first asked for, and end with the app.
    """
    service = Service(Names(Registry(database, home), home), Pool(home.cache), Metrics())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await service.pool.stop()

    # The pages that FastAPI offers for its schema load scripts from elsewhere; the schema itself stays.
    app = FastAPI(title="Pumice", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    refusals.install(app)
    app.add_middleware(Gate, keys=Identity(database), host=host)
    app.add_middleware(Edge, metrics=service.metrics)
    for prefix, in_schema in (("/v1", True), ("/openai/v1", False)):
        for part in (models, chat, completions):
            app.include_router(part.router(service), prefix=prefix, include_in_schema=in_schema)

    @app.get("/healthz")
    async def healthz() -> Mapping[str, str]:
        """Whether the server runs. Engines start on demand and do not count."""
        return {"status": "ok", "version": __version__}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times in Prometheus' text form."""
        service.metrics.engines(await service.pool.stats())
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


class Edge:
    """The outermost layer: names each request, counts it, bounds its size, and answers for errors nobody foresaw."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = f"req-{uuid.uuid4().hex}"
        status = received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413)
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = scope["request_id"]
            await send(message)

        try:
            declared = Headers(scope=scope).get("content-length", "")
            if declared.isdecimal() and int(declared) > MAX_BODY:
                await refusals.too_large().response()(scope, receive, sending)
            else:
                await self._app(scope, receiving, sending)
        except Exception:
            LOGGER.exception("request %s failed", scope["request_id"])
            if not status:
                await refusals.unforeseen(scope["request_id"]).response()(scope, receive, sending)
        finally:
            # A path that no route takes is counted as one, or a stranger could fill the memory with counters.
            route = scope.get("route")
            name = route.path if isinstance(route, APIRoute) else "other"
            self._metrics.answered(name, scope["method"], status)
