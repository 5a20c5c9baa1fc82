"""A signed-in browser: a sealed cookie that names a key and when it ends. Keeps nothing, knows no routes."""

from __future__ import annotations

import json
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from pumice.api.identity import Valid
from pumice.api.openai.refusals import Refusal
from pumice.api.vault import Vault
from pumice.errors import InputError
from pumice.records import Key

COOKIE = "pumice_session"
PATH = "/api/session"
"""Where a session begins and ends, with no key asked for."""
SECONDS = 12 * 3600
HEADER = "x-pumice-console"
"""No page elsewhere can send it unasked: a browser asks first, and this server never says yes."""
_MARK = "session "
"""The vault seals other things too."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Sessions:
    """The sessions of one home."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def begin(self, key: Key) -> str:
        """What the cookie holds; it ends by itself, or with the key."""
        return self._vault.close(_MARK + json.dumps({"key": key.id, "until": time.time() + SECONDS}))

    def key_of(self, scope: Scope, valid: Valid) -> Key | None:
        """The key that a request's cookie names; None without a cookie. Raises `Refusal` for one that has ended."""
        sealed = _cookie(Headers(scope=scope))
        if sealed is None:
            return None
        id = self._opened(sealed)
        key = next((each for each in valid.keys if each.id == id), None)
        if key is None:
            raise Refusal(401, "Your session has ended. Sign in again.", code="session_ended")
        if scope["method"] not in SAFE:
            check_own(scope)
        return key

    def _opened(self, sealed: str) -> str | None:
        if not sealed.isascii():
            return None
        try:
            text = self._vault.open(sealed)
        except InputError:
            return None
        if not text.startswith(_MARK):
            return None
        held = json.loads(text.removeprefix(_MARK))
        return str(held["key"]) if held["until"] > time.time() else None


def check_own(scope: Scope) -> None:
    """Raise `Refusal` unless the request comes from a page of this server."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    if foreign or HEADER not in headers:
        message = "With a session, a change must come from the console itself, with `X-Pumice-Console: 1`."
        raise Refusal(403, message, code="foreign_page")


def _cookie(headers: Headers) -> str | None:
    # Other programs on localhost have cookies, too, of any form.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)
