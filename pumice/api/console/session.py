"""`/api/session`: a key becomes a cookie, which the gate reads. Knows no pages."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from pumice import __version__
from pumice.api.identity import Identity
from pumice.api.openai.refusals import Refusal
from pumice.api.sessions import COOKIE, SECONDS, Sessions
from pumice.records import Key, Role


class SignIn(BaseModel):
    key: str
    """The bearer secret: `sk-pumice-…`."""


class Session(BaseModel):
    """Who is calling."""

    key: str | None
    """Name of the key; null while this server asks for none."""
    role: Role
    version: str = __version__


def router(keys: Identity) -> APIRouter:
    """The three routes."""
    routes, sessions = APIRouter(prefix="/session", tags=["session"]), Sessions(keys.vault)

    @routes.get("")
    async def who(http: Request) -> Session:
        """Whose key this is, however it came."""
        return _shown(http.scope["caller"].key)

    @routes.post("")
    async def sign_in(asked: SignIn, http: Request, response: Response) -> Session:
        """Trade a key for a cookie of twelve hours. The request carries `X-Pumice-Console: 1`."""
        valid = await keys.current()
        key = valid.bearer(asked.key.strip())
        if key is None:
            raise Refusal(401, "This key is unknown or revoked. `pumice keys list` shows the valid ones.", param="key")
        response.set_cookie(
            COOKIE,
            sessions.begin(key),
            max_age=SECONDS,
            httponly=True,
            samesite="strict",
            # Without TLS only this machine is answered, and Safari keeps no secure cookie of http://localhost.
            secure=http.url.scheme == "https",
        )
        return _shown(key)

    @routes.delete("", status_code=204)
    async def sign_out(response: Response) -> None:
        """Have the browser forget the cookie."""
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")

    return routes


def _shown(key: Key | None) -> Session:
    return Session(key=key.name if key else None, role=key.role if key else Role.ADMIN)
