"""Brings a database to the newest schema, one process at a time. Knows no table but Alembic's own."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from pumice.errors import InputError

LOCK = int.from_bytes(b"pumice")
"""PostgreSQL's advisory locks have numbers; this one is ours."""


def configuration() -> Config:
    """Alembic's configuration; the migrations lie in this package."""
    config = Config()
    config.set_main_option("script_location", "pumice.store:migrations")
    return config


def read_revision(connection: Connection) -> str | None:
    """The revision that the database stands at, None for a new one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def upgrade(engine: Engine, revision: str) -> None:
    """Run the migrations up to `revision`, all or none. Raises `InputError` for a database of a newer Pumice."""
    alone = sqlite_alone if engine.dialect.name == "sqlite" else server_alone
    with alone(engine) as connection:
        current = read_revision(connection)
        known = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
        if current is not None and current not in known:
            raise InputError(
                f"{engine.url.database} was written by a newer Pumice.",
                f"Its schema is {current}; this version knows schemas up to {revision}.",
                fix="Upgrade Pumice, or set PUMICE_HOME to another folder (PUMICE_DATABASE to another database).",
            )
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def server_alone(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds a lock of the whole database; both go with the connection, however it ends."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield connection


@contextmanager
def sqlite_alone(engine: Engine) -> Iterator[Connection]:
    """A transaction that one process at a time has; the lock goes with the process, however it ends."""
    assert engine.url.database is not None
    file = Path(engine.url.database)
    with (
        file.with_name(file.name + ".lock").open("w") as lock,
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Readers go on while a worker writes. The mode stays with the file.
        connection.execute(text("PRAGMA journal_mode = WAL"))
        # To change a table SQLite copies it and drops the old one, which no row may refer to while this is checked.
        connection.execute(text("PRAGMA foreign_keys = OFF"))
        # The driver would commit each DDL statement by itself; half a migration must not stay.
        connection.execute(text("BEGIN IMMEDIATE"))
        try:
            yield connection
            lost = connection.execute(text("PRAGMA foreign_key_check")).all()
            assert not lost, f"rows that refer to nothing after the migration: {lost}"
        except BaseException:
            connection.execute(text("ROLLBACK"))
            raise
        connection.execute(text("COMMIT"))
