"""`/console`: the files that `make install` builds out of `web/`, and the policy that they run under. Knows no data."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from pumice import api

STATIC = Path(api.__file__).parent / "static"
NONCE = "__NONCE__"
"""What stands in the built page where the number used once belongs."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
            # Their names have a hash of what is in them.
            return FileResponse(STATIC / path, headers={"Cache-Control": "public, max-age=31536000, immutable"})
        index = STATIC / "index.html"
        nonce = secrets.token_urlsafe(16)
        headers = {**HEADERS, "Content-Security-Policy": POLICY.format(nonce=nonce), "Cache-Control": "no-store"}
        if not index.is_file():
            return HTMLResponse(UNBUILT, 503, headers)
        return HTMLResponse(_read(index, index.stat().st_mtime_ns).replace(NONCE, nonce), headers=headers)

    return routes


def _assets() -> set[str]:
    return {f"assets/{file.name}" for file in (STATIC / "assets").glob("*")}


@cache
def _read(index: Path, written: int) -> str:
    return index.read_text("utf-8")
