"""Signing in to the console: a key becomes a cookie, which ends with it and changes nothing for a page elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_server import serving

from pumice.api import sessions
from pumice.api.console import pages
from pumice.api.identity import Identity
from pumice.api.vault import Vault
from pumice.config import Home
from pumice.records import Role
from pumice.store.tables import open_database

OWN = {"X-Pumice-Console": "1"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("signed-in"))


@pytest.fixture(scope="module")
def keys(home: Home) -> Identity:
    return Identity(open_database(home.database), home)


@pytest.fixture(scope="module")
def secret(keys: Identity) -> str:
    return keys.create("owner", Role.ADMIN).secret


@pytest.fixture(scope="module")
def url(home: Home, secret: str) -> Iterator[str]:
    with serving(home) as url:
        yield url


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


def sign_in(browser: httpx.Client, secret: str) -> httpx.Response:
    return browser.post("/api/session", json={"key": secret}, headers=OWN)


def test_a_key_becomes_a_cookie_that_scripts_cannot_read(browser: httpx.Client, secret: str) -> None:
    assert browser.get("/api/session").status_code == 401
    answer = sign_in(browser, secret)
    assert (answer.json()["key"], answer.json()["role"]) == ("owner", "admin")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert secret.lower() not in cookie
    assert browser.get("/api/session").json()["key"] == "owner"
    assert browser.get("/api/keys").status_code == 200
    browser.delete("/api/session", headers=OWN)
    assert browser.get("/api/session").status_code == 401


def test_an_unknown_key_gets_none(browser: httpx.Client) -> None:
    answer = sign_in(browser, "sk-pumice-wrong")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers", [{}, {**OWN, "Origin": "https://elsewhere.example"}, {"Origin": "https://elsewhere.example"}]
)
def test_a_page_elsewhere_changes_nothing_with_the_cookie(
    browser: httpx.Client, secret: str, headers: dict[str, str]
) -> None:
    assert browser.post("/api/session", json={"key": secret}, headers=headers).status_code == 403
    sign_in(browser, secret)
    refused = browser.post("/api/keys", json={"name": "stolen", "role": "admin"}, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_page")
    assert "stolen" not in browser.get("/api/keys").text
    made = browser.post(
        "/api/keys", json={"name": f"own {len(headers)}"}, headers={**OWN, "Origin": str(browser.base_url)}
    )
    assert made.status_code == 200


def test_a_session_ends_with_its_key_and_by_itself(
    browser: httpx.Client, keys: Identity, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = keys.create("brief", Role.TRAIN)
    sealed = sessions.Sessions(Vault(home)).begin(made.key)
    monkeypatch.setattr(sessions, "SECONDS", -1)
    late = sessions.Sessions(Vault(home)).begin(made.key)
    monkeypatch.undo()

    def asked(cookie: str) -> tuple[int, str | None]:
        answer = httpx.get(
            f"{browser.base_url}/api/session", headers={"Cookie": f"{sessions.COOKIE}={cookie}".encode("latin-1")}
        )
        return answer.status_code, answer.json().get("error", {}).get("code")

    for cookie in (late, "nonsense", '"\xfc"', Vault(home).close("another secret")):
        assert asked(cookie) == (401, "session_ended")

    def until(status: int) -> None:
        # The server reads the keys anew after a second.
        end = time.monotonic() + 30
        while asked(sealed)[0] != status:
            assert time.monotonic() < end

    until(200)
    keys.revoke(made.key.id)
    until(401)


def test_a_role_holds_in_a_session_too(browser: httpx.Client, keys: Identity, url: str, secret: str) -> None:
    made = browser.post(
        "/api/keys", json={"name": "asks", "role": "invoke"}, headers={"Authorization": f"Bearer {secret}"}
    )
    sign_in(browser, made.json()["secret"])
    assert browser.get("/api/session").json()["role"] == "invoke"
    own = {**OWN, "Origin": str(browser.base_url)}
    paths = httpx.get(f"{url}/openapi.json", headers={"Authorization": f"Bearer {secret}"}).json()["paths"]
    asked = {(path, verb) for path, verbs in paths.items() if path.startswith("/api/") for verb in verbs}
    assert len(asked) > 25
    for path, verb in asked - {("/api/session", verb) for verb in ("get", "post", "delete")}:
        assert browser.request(verb, path, json={}, headers=own).status_code == 403, (verb, path)
    assert browser.get("/v1/models").status_code == 200
    trains = {"Authorization": f"Bearer {keys.create('trains', Role.TRAIN).secret}"}
    end = time.monotonic() + 30
    while (seen := httpx.get(f"{url}/api/jobs", headers=trains).status_code) != 200:
        # The server reads the keys anew after a second.
        assert seen == 401 and time.monotonic() < end
    for path in ("keys", "settings"):
        assert httpx.get(f"{url}/api/{path}", headers=trains).status_code == 403


def test_the_pages_are_open_and_run_under_a_strict_policy(
    browser: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "static" / "assets").mkdir(parents=True)
    (tmp_path / "static" / "index.html").write_text('<meta name="nonce" content="__NONCE__">')
    (tmp_path / "static" / "assets" / "index-1.js").write_text("let stone;")
    (tmp_path / "secret.key").write_text("hidden")
    monkeypatch.setattr(pages, "STATIC", tmp_path / "static")
    assert browser.get("/", follow_redirects=False).headers["location"] == "/console/"
    page = browser.get("/console/train/some-job")
    policy = page.headers["content-security-policy"]
    nonce = page.text.partition('content="')[2].partition('"')[0]
    assert nonce
    assert f"'nonce-{nonce}'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert browser.get("/console/").text != page.text
    script = browser.get("/console/assets/index-1.js")
    assert (script.text, "immutable" in script.headers["cache-control"]) == ("let stone;", True)
    for path in ("/console/assets/..%2f..%2fsecret.key", "/console/assets/gone.js", "/console/..%2fsecret.key"):
        assert "hidden" not in browser.get(path).text
    for path in ("gone.js", "%00", "a" * 300):
        assert browser.get(f"/console/assets/{path}").status_code == 404
    assert browser.get("/console/%00").status_code == 200


def test_without_a_build_a_plain_page_says_how(
    browser: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "STATIC", tmp_path)
    page = browser.get("/console/")
    assert page.status_code == 503
    assert "make install" in page.text
