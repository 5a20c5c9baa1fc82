"""The database opens at the newest schema, whoever else opens it, and its migrations say the same as its tables."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError, StatementError

from pumice.config import Home
from pumice.errors import InputError
from pumice.store import tables
from pumice.store.migrate import configuration
from pumice.store.tables import open_database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOB = {"id": "faq-0001", "task": "run", "state": "queued", "spec": {"data": "faq.jsonl"}, "created": NOW}
MODEL = {
    "name": "faq",
    "version": 1,
    "stage": "candidate",
    "method": "lora",
    "adapter": True,
    "base": "b",
    "base_sha256": "0",
    "base_source": "folder:b",
    "template_sha256": "",
    "data_sha256": "1",
    "created": NOW,
    "recipe": {},
    "exports": {},
}


def test_migrations_and_tables_agree(home: Home) -> None:
    with open_database(home.database).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
        made = indexes(connection.exec_driver_sql)
    with open_database("sqlite:///" + str(home.root / "other.db")).begin() as connection:
        tables.metadata.drop_all(connection)
        tables.metadata.create_all(connection)
        # compare_metadata does not look at what a partial index is about.
        assert indexes(connection.exec_driver_sql) == made


def indexes(run: object) -> list[tuple[str, str]]:
    rows = run("SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name")  # type: ignore[operator]
    return [tuple(row) for row in rows]


def test_the_revision_in_the_code_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(configuration()).get_current_head() == tables.REVISION


def test_opening_again_keeps_the_records(home: Home) -> None:
    with open_database(home.database).begin() as connection:
        connection.execute(insert(tables.jobs).values(JOB))
    with open_database(home.database).connect() as connection:
        assert connection.execute(select(tables.jobs.c.id)).scalars().all() == ["faq-0001"]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_processes_that_open_a_new_home_at_once_all_succeed(home: Home) -> None:
    code = f"""
import sys
from pumice.store.tables import open_database, keys
from sqlalchemy import insert
from datetime import UTC, datetime
print('ready', flush=True)
sys.stdin.readline()
name = sys.argv[1]
with open_database({home.database!r}).begin() as connection:
    key = dict(id=name, name=name, role="admin", secret_sha256=name, created=datetime.now(UTC))
    connection.execute(insert(keys).values(key))
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"k{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for n in range(6)
    ]
    for child in children:
        assert child.stdout and child.stdout.readline() == b"ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write(b"go\n")
        child.stdin.flush()
    ends = [child.communicate() for child in children]
    assert [(child.returncode, error) for child, (_, error) in zip(children, ends, strict=True)] == [(0, b"")] * 6
    with open_database(home.database).connect() as connection:
        assert len(connection.execute(select(tables.keys)).all()) == 6


def test_a_database_of_a_newer_pumice_is_refused_and_left_alone(home: Home) -> None:
    open_database(home.database)
    path = home.root / "pumice.db"
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InputError, match="newer Pumice") as caught:
        open_database(home.database)
    assert str(path) in caught.value.what and "PUMICE_HOME" in caught.value.fix
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    connection.close()


def test_half_a_migration_does_not_stay(home: Home) -> None:
    home.root.mkdir()
    path = home.root / "pumice.db"
    # The first migration makes `jobs` and `models`, then meets a `keys` that is in its way.
    change(path, "CREATE TABLE keys (id)")
    with pytest.raises(Exception, match="table keys already exists"):
        open_database(home.database)
    change(path, "DROP TABLE keys")
    with open_database(home.database).begin() as connection:
        connection.execute(insert(tables.jobs).values(JOB))


def change(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(sql)
    connection.close()


def test_times_come_back_as_the_same_moment_in_utc(home: Home) -> None:
    database = open_database(home.database)
    tokyo = datetime(2026, 3, 1, 21, 30, tzinfo=timezone(timedelta(hours=9)))
    with database.begin() as connection:
        connection.execute(insert(tables.jobs).values({**JOB, "created": tokyo}))
        back = connection.execute(select(tables.jobs.c.created, tables.jobs.c.ended)).one()
    assert back.created == tokyo and back.created.utcoffset() == timedelta(0) and back.ended is None
    with database.connect() as connection, pytest.raises(StatementError, match="a time without a zone"):
        connection.execute(insert(tables.jobs).values({**JOB, "id": "x", "created": datetime(2026, 3, 1)}))


def test_the_tables_hold_their_rules(home: Home) -> None:
    database = open_database(home.database)
    with database.begin() as connection:
        connection.execute(insert(tables.models).values({**MODEL, "stage": "production"}))
    for broken in (
        {**MODEL, "version": 2, "stage": "production"},  # a second production version of one name
        {**MODEL, "version": 2, "job": "nobody-0000"},  # a job that is not recorded
        MODEL,  # the same version again
    ):
        with pytest.raises(IntegrityError), database.begin() as connection:
            connection.execute(insert(tables.models).values(broken))
