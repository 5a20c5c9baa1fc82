"""Keys: what they are known by, how their secrets are kept, and how soon a change counts."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from cryptography.fernet import Fernet

from pumice.api.identity import Identity, is_loopback, may_bind
from pumice.api.vault import Vault
from pumice.config import Home
from pumice.errors import InputError, NotFoundError
from pumice.records import Role
from pumice.store.tables import open_database


@pytest.fixture
def database(home: Home) -> sqlalchemy.Engine:
    home.root.mkdir()
    return open_database(home.database)


@pytest.fixture
def identity(database: sqlalchemy.Engine, home: Home) -> Identity:
    return Identity(database, home)


@contextmanager
def readings(database: sqlalchemy.Engine) -> Iterator[list[str]]:
    """The times that the table of keys is read."""
    found: list[str] = []

    def heard(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if "FROM keys" in statement:
            found.append(statement)

    sqlalchemy.event.listen(database, "before_cursor_execute", heard)
    yield found
    sqlalchemy.event.remove(database, "before_cursor_execute", heard)


async def test_a_key_is_known_by_its_secrets_alone(identity: Identity) -> None:
    made = identity.create("laptop", Role.INVOKE, requests_per_minute=5, tokens_per_day=100)
    other = identity.create("phone", Role.ADMIN)
    assert made.secret.startswith("sk-pumice-")
    assert re.fullmatch(r"PUMI[A-Z2-7]{16}", made.key.access_key or "")
    assert len(made.signing_secret) == 40
    valid = await identity.current()
    assert valid.bearer(made.secret) == made.key and valid.bearer(other.secret) == other.key
    assert identity.list() == [made.key, other.key]
    assert made.key.access_key and identity.secret_of(made.key.access_key) == made.signing_secret
    for wrong in (made.secret[:-1], made.key.secret_sha256, made.key.id, made.signing_secret, ""):
        assert valid.bearer(wrong) is None
    assert identity.secret_of("PUMIAAAAAAAAAAAAAAAA") is None


async def test_the_secrets_are_nowhere_in_the_home(identity: Identity, home: Home) -> None:
    made = identity.create("laptop", Role.INVOKE)
    await identity.current()
    assert identity.secret_of(str(made.key.access_key))
    files = [path for path in home.root.rglob("*") if path.is_file()]
    assert files
    for secret in (made.secret.removeprefix("sk-pumice-"), made.signing_secret):
        assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert made.secret not in repr(made) and made.signing_secret not in repr(made)


async def test_a_key_is_given_another_budget(identity: Identity) -> None:
    made = identity.create("laptop", Role.INVOKE, requests_per_minute=5)
    other = identity.create("phone", Role.INVOKE)
    limited = identity.limit("laptop", None, 100)
    assert (limited.requests_per_minute, limited.tokens_per_day) == (None, 100)
    assert identity.list() == [limited, other.key]
    assert (await identity.current()).bearer(made.secret) == limited
    with pytest.raises(InputError, match="tokens per day = 0; it must be 1 or more"):
        identity.limit(made.key.id, None, 0)
    identity.revoke("laptop")
    with pytest.raises(NotFoundError, match="no key 'laptop' in force"):
        identity.limit("laptop", 1, 1)


async def test_a_revoked_key_is_nobody(identity: Identity) -> None:
    made = identity.create("laptop", Role.INVOKE)
    assert (await identity.current()).keys
    assert identity.revoke("laptop").revoked
    valid = await identity.current()
    assert valid.bearer(made.secret) is None and not valid.keys
    assert identity.secret_of(str(made.key.access_key)) is None
    assert identity.list()[0].revoked
    with pytest.raises(NotFoundError):
        identity.revoke(made.key.id)


async def test_of_two_keys_with_one_name_the_id_decides(identity: Identity) -> None:
    first, second = identity.create("laptop", Role.INVOKE), identity.create("laptop", Role.INVOKE)
    with pytest.raises(InputError, match=second.key.id):
        identity.revoke("laptop")
    identity.revoke(first.key.id)
    assert (await identity.current()).keys == [second.key]


def test_a_key_without_a_name_or_with_no_room_is_refused(identity: Identity) -> None:
    with pytest.raises(InputError, match="no name"):
        identity.create("  ", Role.INVOKE)
    with pytest.raises(InputError, match="requests per minute = 0"):
        identity.create("laptop", Role.INVOKE, requests_per_minute=0)
    with pytest.raises(InputError, match="tokens per day = -1"):
        identity.create("laptop", Role.INVOKE, tokens_per_day=-1)
    assert identity.list() == []


async def test_a_thousand_questions_read_the_keys_once_a_second(
    identity: Identity, database: sqlalchemy.Engine
) -> None:
    made = identity.create("laptop", Role.INVOKE)
    with readings(database) as found:
        started = time.monotonic()
        answers = await asyncio.gather(*(identity.current() for _ in range(1000)))
        assert {answer.bearer(made.secret) for answer in answers} == {made.key}
        assert 1 <= len(found) <= 1 + (time.monotonic() - started)


async def test_what_another_process_writes_is_heard(identity: Identity, home: Home) -> None:
    assert not (await identity.current()).keys
    elsewhere = Identity(open_database(home.database), home)
    made = elsewhere.create("laptop", Role.INVOKE)
    while not (await identity.current()).keys:
        await asyncio.sleep(0.05)
    assert (await identity.current()).bearer(made.secret) == made.key
    elsewhere.revoke("laptop")
    while (await identity.current()).keys:
        await asyncio.sleep(0.05)


async def test_a_key_made_while_the_keys_are_read_is_not_missed(
    identity: Identity, database: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = identity.list
    made = []

    def slow() -> object:
        found = whole()
        if not made:
            made.append(identity.create("laptop", Role.INVOKE))
        return found

    monkeypatch.setattr(identity, "list", slow)
    assert [key.name for key in (await identity.current()).keys] == ["laptop"]


def test_the_key_of_the_home_is_its_owners_alone(identity: Identity, home: Home) -> None:
    identity.create("laptop", Role.INVOKE)
    assert stat.S_IMODE(home.secret_file.stat().st_mode) == 0o600


def test_processes_that_make_it_at_once_share_it(home: Home) -> None:
    code = (
        "import sys, pathlib; from pumice.api.vault import Vault; from pumice.config import Home\n"
        "vault = Vault(Home(pathlib.Path(sys.argv[1]))); sys.stdin.read(); print(vault.close('word'))"
    )
    command = [sys.executable, "-c", code, str(home.root)]
    makers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ})
        for _ in range(3)
    ]
    for maker in makers:
        assert maker.stdin
        maker.stdin.flush()
    closed = [maker.communicate("go")[0].strip() for maker in makers]
    assert [Vault(home).open(each) for each in closed] == ["word"] * 3


async def test_a_lost_or_wrong_key_is_told_in_a_sentence(
    identity: Identity, home: Home, database: sqlalchemy.Engine
) -> None:
    made = identity.create("laptop", Role.INVOKE)
    kept = home.secret_file.read_text()
    home.secret_file.unlink()
    with pytest.raises(InputError, match=r"secret\.key is gone"):
        Identity(database, home).secret_of(str(made.key.access_key))
    home.secret_file.write_bytes(Fernet.generate_key())
    with pytest.raises(InputError, match=r"secret\.key is not the key that this secret was encrypted with"):
        Identity(database, home).secret_of(str(made.key.access_key))
    home.secret_file.write_text("nonsense")
    with pytest.raises(InputError, match=r"secret\.key is no key"):
        Identity(database, home).secret_of(str(made.key.access_key))
    home.secret_file.unlink()
    shared = replace(home, secret_key=kept)
    assert Identity(database, shared).secret_of(str(made.key.access_key)) == made.signing_secret
    assert not home.secret_file.exists()


def test_beyond_loopback_only_with_a_key_and_tls(identity: Identity) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        may_bind(host, identity, tls=False)
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", ""):
        with pytest.raises(InputError, match="pumice keys create"):
            may_bind(host, identity, tls=True)
    identity.create("laptop", Role.INVOKE)
    may_bind("0.0.0.0", identity, tls=True)
    with pytest.raises(InputError, match="--tls"):
        may_bind("0.0.0.0", identity, tls=False)


def test_what_is_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"))
    assert not any(
        is_loopback(host) for host in ("127.0.0.1.example.org", "localhost.example.org", "0.0.0.0", "", "10.0.0.1")
    )


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PUMICE_HOME": str(home), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "pumice", *words], capture_output=True, text=True, env=environment, timeout=60
    )


def test_the_command_prints_an_environment_and_nothing_else(tmp_path: Path) -> None:
    done = run(tmp_path, "keys", "create", "laptop", "--role", "train", "--tokens-per-day", "50000")
    assert done.returncode == 0, done.stderr
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert list(found) == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"]
    assert "laptop" in done.stderr and not any(value in done.stderr for value in found.values())
    listed = run(tmp_path, "keys", "list")
    assert found["AWS_ACCESS_KEY_ID"] in listed.stderr and "50,000" in listed.stderr and "train" in listed.stderr
    as_json = run(tmp_path, "keys", "list", "--json")
    for shown in (listed.stderr, as_json.stdout):
        assert found["AWS_SECRET_ACCESS_KEY"] not in shown and found["OPENAI_API_KEY"] not in shown
    assert "secret" not in as_json.stdout
