"""What only a server can do wrong: not being there, not letting us in, tables that several make at once."""

from __future__ import annotations

import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine, make_url, select, text

from pumice.api.identity import Identity
from pumice.config import Home
from pumice.errors import ConflictError, InputError, NotFoundError
from pumice.jobs.queue import Queue
from pumice.records import JobState, Role
from pumice.store import tables
from pumice.store.connect import connect
from pumice.store.tables import open_database

PASSWORD = "s3cr3t-w0rd"
RECIPE = {"data": "/data/faq.jsonl", "name": "faq", "epochs": 3}


@pytest.fixture
def server(server_home: Home) -> Home:
    return server_home


@pytest.fixture
def queue(server: Home, request: pytest.FixtureRequest) -> Queue:
    engine = open_database(server.database)
    request.addfinalizer(engine.dispose)
    return Queue(engine, server)


def told(url: str) -> str:
    """Everything that a user could see of the error for `url`, its causes too."""
    with pytest.raises(InputError) as caught:
        open_database(url)
    assert caught.value.what and caught.value.fix
    return "".join(traceback.format_exception(caught.value))


def test_processes_that_open_a_new_database_at_once_all_succeed(server: Home) -> None:
    code = f"from pumice.store.tables import open_database; open_database({server.database!r}).dispose()"
    children = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    ends = [(child.communicate()[1], child.returncode) for child in children]
    assert ends == [(b"", 0)] * 4
    engine = open_database(server.database)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [tables.REVISION]
    engine.dispose()


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    seen = told(f"postgresql://me:{PASSWORD}@127.0.0.1:9/pumice")
    assert "database pumice of 127.0.0.1" in seen and "PUMICE_DATABASE" in seen and "refused" in seen
    assert PASSWORD not in seen


def test_a_database_that_is_not_there_is_named(postgres: str) -> None:
    seen = told(make_url(postgres).set(database="nowhere").render_as_string(hide_password=False))
    assert 'database "nowhere" does not exist' in seen


def test_a_user_who_may_not_make_tables_is_told_so(server: Home) -> None:
    engine = connect(server.database)
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS guest"))
        connection.execute(text("CREATE ROLE guest LOGIN"))
    url = make_url(server.database).set(username="guest", password=PASSWORD)
    seen = told(url.render_as_string(hide_password=False))
    assert "permission denied for schema public" in seen and "create tables" in seen and PASSWORD not in seen
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{PASSWORD}@host/pumice",
        f"postgresql://me:{PASSWORD}:more@@host/pumice",
        f"postgresql://me:hidden@{PASSWORD}@host/pumice",
        f"postgresql://me:{PASSWORD}@host:port/pumice",
        PASSWORD,
        "sqlite://",
    ],
)
def test_a_url_that_means_nothing_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InputError, match="PUMICE_DATABASE") as caught:
        connect(url)
    assert caught.value.fix and PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    seen = told(f"postgresql://me:{PASSWORD}@127.0.0.1/pumice")
    assert "pip install 'pumice[postgres]'" in seen and PASSWORD not in seen


def test_a_home_does_not_show_the_password() -> None:
    assert PASSWORD not in repr(Home(Path("/x"), f"postgresql://a:{PASSWORD}@h/d"))


def test_a_job_goes_its_way(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    assert queue.get(job.id) == job and job.spec == RECIPE and queue.list() == (job,)
    pid = psutil.Process().pid
    running = queue.claim(job.id, pid)
    assert running.state is JobState.RUNNING and running.started
    done = queue.finish(job.id, pid, JobState.SUCCEEDED, model="faq@1")
    assert (done.state, done.model) == (JobState.SUCCEEDED, "faq@1") and done.ended and done.ended >= running.started
    with pytest.raises(NotFoundError, match="no job 'fax-1'"):
        queue.get("fax-1")


def test_one_of_many_gets_the_job(queue: Queue) -> None:
    id, pid = queue.submit("run", RECIPE).id, psutil.Process().pid

    def claim(_: int) -> bool:
        try:
            queue.claim(id, pid)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, range(24))) == 1


def test_a_job_whose_worker_died_is_interrupted_and_resumed(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        queue.claim(job.id, child.pid)
        child.kill()
    assert queue.get(job.id).state is JobState.INTERRUPTED
    assert queue.resume(job.id).state is JobState.QUEUED
    assert queue.stop(job.id).state is JobState.STOPPED


def test_keys_are_made_listed_and_revoked(queue: Queue) -> None:
    keys = Identity(queue.database, queue.home)
    made = keys.create("ci", Role.TRAIN, tokens_per_day=1000)
    assert list(keys.list()) == [made.key]
    assert keys.revoke("ci").revoked
    with queue.database.connect() as connection:
        (row,) = connection.execute(select(tables.keys)).all()
    assert row.revoked and made.secret not in str(row) and made.signing_secret not in str(row)


def test_a_connection_that_the_server_closed_is_replaced(queue: Queue) -> None:
    job = queue.submit("run", RECIPE)
    other: Engine = connect(queue.home.database)
    with other.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        )
    other.dispose()
    assert queue.get(job.id) == job
