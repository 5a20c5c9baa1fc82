"""The serving container: `/ping` and `/invocations` over Pumice's own `/v1`, for what AWS's images do not answer with.

`/adapters` takes versions over the model that it holds, and requests name them by a header, as SageMaker does it for
inference components.

It finds in /opt/ml/model what `pumice deploy aws` lays there (`base/`, `model/`), a GGUF file, or what training left.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pumice.api.app import create_app
from pumice.api.platform import Platform, open_platform
from pumice.bases import resolve
from pumice.bases.classifiers import find_labels
from pumice.config import Home
from pumice.deploy.sagemaker.container import Container
from pumice.errors import PumiceError
from pumice.registry.imports import import_model
from pumice.registry.models import Registry
from pumice.store.tables import open_database

NAME = "model"
CHAT = "/v1/chat/completions"
ADAPTERS = "/adapters"
IDENTIFIER = b"x-amzn-sagemaker-adapter-identifier"
PORT = "SAGEMAKER_BIND_TO_PORT"
"""SageMaker's own variable for another port than 8080."""


def main(container: Container) -> int:
    """Answer until the end."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        database = open_database(home.database)
        load(container.model, Registry(database, home), home)
        # Only SageMaker reaches this port, and it has asked for a signature already.
        host = "127.0.0.1" if os.environ.get("PUMICE_ML_ROOT") else "0.0.0.0"
        server = Server(open_platform(home, database))
        uvicorn.run(server, host=host, port=int(os.environ.get(PORT, "8080")), log_level="warning")
    return 0


def load(folder: Path, registry: Registry, home: Home) -> None:
    """Register what lies in `folder` under `NAME`. Raises `InputError`."""
    base, model = folder / "base", folder / "model"
    if gguf := next(folder.glob("*.gguf"), None):
        import_model(resolve.resolve(str(gguf), home).folder, NAME, registry, home, None)
    elif model.is_dir():
        import_model(model, NAME, registry, home, None, str(base))
    else:
        import_model(base if base.is_dir() else folder, NAME, registry, home, None)


async def body_of(receive: Receive) -> bytes:
    """The whole of it."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


class Server:
    """SageMaker's two paths over an app that knows OpenAI's."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._app: ASGIApp = create_app(platform, "127.0.0.1")
        self._ready = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/ping":
            await self._ping(scope, receive, send)
        elif scope["path"] == "/invocations":
            await self._invoke(scope, receive, send)
        elif scope["path"].startswith(ADAPTERS):
            await (await self._change(scope, receive))(scope, receive, send)
        else:
            await JSONResponse({"error": "There are /ping, /invocations and /adapters."}, 404)(scope, receive, send)

    async def _change(self, scope: Scope, receive: Receive) -> JSONResponse:
        """One adapter more, or one less."""
        name = scope["path"].removeprefix(ADAPTERS).removeprefix("/")
        match scope["method"], bool(name):
            case "POST", False:
                return await self._add(await body_of(receive))
            case "DELETE", True:
                return self._drop(name)
        return JSONResponse({"error": f"POST {ADAPTERS} and DELETE {ADAPTERS}/NAME."}, 405)

    async def _add(self, body: bytes) -> JSONResponse:
        """An adapter over the model, under a name that is its own."""
        try:
            asked = json.loads(body)
            name, folder = asked["name"], Path(asked["src"])
            platform = self._platform
            await asyncio.to_thread(import_model, folder, name, platform.registry, platform.home, None, NAME)
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"error": f"An adapter has a name and a src: {error}."}, 400)
        except PumiceError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"name": name})

    def _drop(self, name: str) -> JSONResponse:
        """It answers no more."""
        try:
            self._platform.registry.delete(self._platform.registry.find(name).id)
        except PumiceError as error:
            return JSONResponse({"error": str(error)}, 404)
        return JSONResponse({"name": name})

    async def _ping(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Healthy once the engine runs, so that the first caller does not wait for it."""
        if not self._ready:
            await self._platform.ready(self._platform.names.find(NAME))
            self._ready = True
        await JSONResponse({"status": "ok"})(scope, receive, send)

    async def _invoke(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same request under the path that answers it, with the one model's name in it."""
        body = await body_of(receive)
        name = dict(scope["headers"]).get(IDENTIFIER, NAME.encode()).decode()
        try:
            asked = json.dumps({**json.loads(body), "model": name}).encode()
        except (ValueError, TypeError):
            asked = body
        held: list[Message] = [{"type": "http.request", "body": asked, "more_body": False}]

        async def receiving() -> Message:
            return held.pop() if held else await receive()

        path = "/v1/classify" if find_labels(self._platform.registry.find(NAME).folder) is not None else CHAT
        headers = [(key, value) for key, value in scope["headers"] if key not in (b"content-length", b"authorization")]
        headers.append((b"content-length", str(len(asked)).encode()))
        inner = {**scope, "path": path, "raw_path": path.encode(), "headers": headers}
        await self._app(inner, receiving, send)
