"""Brings a database to the newest schema, one process at a time. Knows no table but Alembic's own."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from pumice.errors import InputError


def configuration() -> Config:
    """Alembic's configuration; the migrations lie in this package."""
    config = Config()
    config.set_main_option("script_location", "pumice.store:migrations")
    return config


def read_revision(engine: Engine) -> str | None:
    """The revision that the database stands at, None for a new one."""
    file = database_file(engine)
    file.parent.mkdir(parents=True, exist_ok=True)
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return revision


def upgrade(engine: Engine, revision: str) -> None:
    """Run the migrations up to `revision`. Raises `InputError` for a database that this version does not know."""
    with alone(database_file(engine)):
        current = read_revision(engine)
        known = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
        if current is not None and current not in known:
            raise InputError(
                f"{engine.url.database} was written by a newer Pumice.",
                f"Its schema is {current}; this version knows schemas up to {revision}.",
                fix="Upgrade Pumice, or set PUMICE_HOME to another folder.",
            )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Readers go on while a worker writes. The mode stays with the file.
            connection.execute(text("PRAGMA journal_mode = WAL"))
            config = configuration()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)


def database_file(engine: Engine) -> Path:
    """The file of a SQLite database."""
    assert engine.url.database is not None
    return Path(engine.url.database)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Only one process at a time is inside; the lock goes with the process, however it ends."""
    with file.with_name(file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
