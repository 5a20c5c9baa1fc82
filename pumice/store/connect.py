"""A database by its URL: a SQLite file or a PostgreSQL server. Knows no table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, Table, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError
from sqlalchemy.pool import ConnectionPoolEntry

from pumice.errors import InputError

WAIT_SECONDS = 30
"""How long a writer waits for another one. Writes here take milliseconds."""
CONNECT_SECONDS = 10
_CLAIM = 0x70756D696365
"""The name of the claim in PostgreSQL, where names are numbers."""
FORM = "Write PUMICE_DATABASE as postgresql://user:password@host:5432/name; @ : / in a password are %40 %3A %2F."


def connect(url: str) -> Engine:
    """The engine for `sqlite:///FILE` or `postgresql://…`; opens nothing yet. Raises `InputError`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # What cannot be read cannot be shown either: a password may be anywhere in it.
        raise InputError("PUMICE_DATABASE is no URL of a database.", fix=FORM) from None
    makers = {"sqlite": _file, "postgresql": _server, "postgres": _server}
    if parsed.drivername not in makers or "@" in (parsed.host or ""):
        known = "It is a SQLite file (sqlite:///FILE) or a PostgreSQL server (postgresql://…)."
        raise InputError("PUMICE_DATABASE names no database that Pumice can use.", known, FORM)
    return makers[parsed.drivername](parsed)


def _file(url: URL) -> Engine:
    if not url.database:
        raise InputError("PUMICE_DATABASE names no file.", fix="Write sqlite:////folder/pumice.db, or leave it unset.")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # One connection a use: nothing is left open, and threads and forks share none.
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": WAIT_SECONDS})
    event.listen(engine, "connect", keep_references)
    return engine


def keep_references(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    """SQLite checks foreign keys only when each connection asks for it."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _server(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            # A connection that the server has closed meanwhile is replaced, not handed out.
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_SECONDS},
        )
    except ModuleNotFoundError as error:
        raise InputError(
            "PUMICE_DATABASE names a PostgreSQL server, and its driver psycopg is not installed.",
            f"Python says: {error}.",
            "Install it: pip install 'pumice[postgres]'",
        ) from error


@contextmanager
def reachable(engine: Engine) -> Iterator[None]:
    """Turns a server that does not answer, or does not let us in, into an `InputError` without the password."""
    try:
        yield
    except (OperationalError, ProgrammingError) as error:
        if engine.dialect.name == "sqlite":
            raise
        url = engine.url
        reason = " ".join(str(error.orig).split())
        raise InputError(
            f"The database {url.database} of {url.host or 'this machine'} cannot be used (PUMICE_DATABASE).",
            f"PostgreSQL says: {reason}",
            "Check that the server runs and that the user may log in and create tables. " + FORM,
        ) from error


def hold(connection: Connection, table: Table) -> None:
    """Until the transaction ends nobody else writes to `table`. Comes first in a transaction that reads, then writes.

    SQLite has one writer at a time anyway, from a transaction's first write on.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(text(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE"))


@contextmanager
def claim(engine: Engine) -> Iterator[bool]:
    """Whether this process alone has the claim on a PostgreSQL database; it ends with the block, or the process.

    A SQLite file is always had: whoever shares one shares its folder, where files are locked.
    """
    if engine.dialect.name == "sqlite":
        yield True
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        held = bool(connection.execute(text("SELECT pg_try_advisory_lock(:name)"), {"name": _CLAIM}).scalar())
        yield held
        if held:
            connection.execute(text("SELECT pg_advisory_unlock(:name)"), {"name": _CLAIM})
