"""`/console`: the files that `make install` builds out of `web/`, and the policy that they run under. Knows no data."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from pumice.api.console.bundle import FOR_EVER, NONCE, POLICY, STATIC

HEADERS = {"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin"}
UNBUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Pumice</title></head>
<body><h1>Pumice runs. Its console is not built.</h1>
<p>Install Node 20.19 or later and run <code>make install</code> in Pumice's folder; then load this page again.</p>
<p>Nothing else needs it: every command and every API works without.</p></body></html>
"""


def router() -> APIRouter:
    """The pages; they are no part of the schema."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def root() -> RedirectResponse:
        """Whoever opens the address in a browser wants the console."""
        return RedirectResponse("/console/")

    @routes.get("/console")
    async def bare() -> RedirectResponse:
        """The pages' own links are relative to the folder."""
        return RedirectResponse("/console/")

    @routes.get("/console/{path:path}")
    def page(path: str) -> Response:
        """A built file; every other path is a page that the program in the browser draws."""
        if path.startswith("assets/"):
            if path not in _assets():
                return Response(status_code=404)
            return FileResponse(STATIC / path, headers={"Cache-Control": FOR_EVER})
        index = STATIC / "index.html"
        nonce = secrets.token_urlsafe(16)
        policy = POLICY.format(styles=f"'nonce-{nonce}'")
        headers = {**HEADERS, "Content-Security-Policy": policy, "Cache-Control": "no-store"}
        if not index.is_file():
            return HTMLResponse(UNBUILT, 503, headers)
        return HTMLResponse(_read(index, index.stat().st_mtime_ns).replace(NONCE, nonce), headers=headers)

    return routes


def _assets() -> set[str]:
    return {f"assets/{file.name}" for file in (STATIC / "assets").glob("*")}


@cache
def _read(index: Path, written: int) -> str:
    return index.read_text("utf-8")
