"""Keys, and who is let in."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from pumice.api.identity import Gate, Identity, is_loopback, may_bind
from pumice.config import Home
from pumice.errors import InputError, NotFoundError
from pumice.records import Role
from pumice.store.tables import open_database


@pytest.fixture
def identity(home: Home) -> Identity:
    home.root.mkdir()
    return Identity(open_database(home.database))


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    """What lies behind the gate."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


async def ask(identity: Identity, host: str = "127.0.0.1", path: str = "/v1/models", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(Gate(inside, identity, host))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        return await client.get(path, headers=headers)


def test_a_key_is_known_by_its_secret_alone(identity: Identity) -> None:
    key, secret = identity.create("laptop", Role.INVOKE)
    other, _ = identity.create("phone", Role.ADMIN)
    assert secret.startswith("sk-pumice-")
    assert identity.verify(secret) == key
    assert identity.list() == [key, other]
    assert identity.verify(secret[:-1]) is None
    assert identity.verify(key.secret_sha256) is None
    assert identity.verify(key.id) is None


def test_the_secret_is_nowhere_in_the_home(identity: Identity, home: Home) -> None:
    _, secret = identity.create("laptop", Role.INVOKE)
    files = [path for path in home.root.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret[len("sk-pumice-") :].encode() in path.read_bytes()]


def test_a_revoked_key_is_nobody(identity: Identity) -> None:
    key, secret = identity.create("laptop", Role.INVOKE)
    assert identity.revoke("laptop").revoked
    assert identity.verify(secret) is None
    assert identity.list()[0].revoked
    with pytest.raises(NotFoundError):
        identity.revoke(key.id)


def test_of_two_keys_with_one_name_the_id_decides(identity: Identity) -> None:
    first, _ = identity.create("laptop", Role.INVOKE)
    second, secret = identity.create("laptop", Role.INVOKE)
    with pytest.raises(InputError, match=second.id):
        identity.revoke("laptop")
    identity.revoke(first.id)
    assert identity.verify(secret) == second


def test_a_key_without_a_name_is_refused(identity: Identity) -> None:
    with pytest.raises(InputError, match="no name"):
        identity.create("  ", Role.INVOKE)


def test_beyond_loopback_only_with_a_key(identity: Identity) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        may_bind(host, identity)
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""):
        with pytest.raises(InputError, match="pumice keys create"):
            may_bind(host, identity)
    identity.create("laptop", Role.INVOKE)
    may_bind("0.0.0.0", identity)


def test_what_is_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"))
    assert not any(
        is_loopback(host) for host in ("127.0.0.1.example.org", "localhost.example.org", "0.0.0.0", "", "10.0.0.1")
    )


async def test_without_keys_this_machine_is_let_in(identity: Identity) -> None:
    assert (await ask(identity)).status_code == 200
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert (await ask(identity, Host=host)).status_code == 200
    assert (await ask(identity, Origin="http://localhost:3000")).status_code == 200


async def test_without_keys_a_web_page_is_not(identity: Identity) -> None:
    for headers in (
        {"Host": "evil.example:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": ""},
    ):
        answer = await ask(identity, **headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "foreign_host"
        assert "access-control-allow-origin" not in answer.headers


async def test_once_a_key_exists_it_is_asked_for(identity: Identity) -> None:
    _, secret = identity.create("laptop", Role.INVOKE)
    for path in ("/v1/models", "/openai/v1/models", "/metrics", "/openapi.json", "/healthz/../v1/models"):
        answer = await ask(identity, path=path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert (await ask(identity, path=path, Authorization=f"Bearer {secret}")).status_code == 200
    for wrong in (f"Basic {secret}", f"Bearer {secret}x", "Bearer ", secret):
        answer = await ask(identity, Authorization=wrong)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert (await ask(identity, path="/healthz")).status_code == 200


async def test_with_a_key_any_name_of_this_machine_will_do(identity: Identity) -> None:
    _, secret = identity.create("laptop", Role.INVOKE)
    assert (await ask(identity, Host="gpu-box.lan:8080", Authorization=f"Bearer {secret}")).status_code == 200


async def test_beyond_loopback_the_last_key_revoked_opens_nothing(identity: Identity) -> None:
    _, secret = identity.create("laptop", Role.INVOKE)
    assert (await ask(identity, host="0.0.0.0", Authorization=f"Bearer {secret}")).status_code == 200
    identity.revoke("laptop")
    assert (await ask(identity, host="0.0.0.0", Authorization=f"Bearer {secret}")).status_code == 401
    assert (await ask(identity, host="0.0.0.0")).status_code == 401
    assert (await ask(identity)).status_code == 200
