"""The records in SQL: the tables, and one way to open them that leaves the schema at its newest revision.

Does not know what the records mean: which moves are allowed is said in `jobs`, `registry` and `api`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from pumice.store.connect import connect, reachable
from pumice.store.migrate import read_revision, upgrade

REVISION = "0003"
"""The newest migration; a database that says so is opened without loading the migrations."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """A time with a zone, kept in UTC. SQLite drops the zone, PostgreSQL gives the server's: read, it is UTC again."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        assert value is None or value.tzinfo, "a time without a zone"
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("task", String, nullable=False),
    Column("state", String, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("started", Moment),
    Column("ended", Moment),
    Column("pid", Integer),
    # Seconds since the epoch: a pid alone may belong to another process by now.
    Column("pid_started", Float),
    Column("host", String),
    Column("heartbeat", Moment),
    Column("model", String),
    Column("error", Text),
    Column("background", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default="0"),
)

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("stage", String, nullable=False),
    Column("method", String, nullable=False),
    Column("adapter", Boolean, nullable=False),
    Column("base", String, nullable=False),
    Column("base_sha256", String, nullable=False),
    Column("base_source", String, nullable=False),
    Column("template_sha256", String, nullable=False),
    Column("data_sha256", String, nullable=False),
    # Unique: a job that is resumed after a crash cannot register a second version.
    Column("job", String, ForeignKey("jobs.id"), unique=True),
    Column("created", Moment, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("report", JSON(none_as_null=True)),
    Column("exports", JSON, nullable=False),
)
Index(
    "one_production_version",
    models.c.name,
    unique=True,
    sqlite_where=models.c.stage == "production",
    postgresql_where=models.c.stage == "production",
)

keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("secret_sha256", String, nullable=False, unique=True),
    Column("created", Moment, nullable=False),
    Column("revoked", Moment),
    Column("access_key", String, unique=True),
    Column("signing_secret", String),
    Column("requests_per_minute", Integer),
    Column("tokens_per_day", Integer),
)

documents = Table(
    "documents",
    metadata,
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("body", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Moment, nullable=False, index=True),
    Column("key", String),
    Column("operation", String, nullable=False),
    Column("asked", String, nullable=False),
    Column("model", String, nullable=False),
    Column("variant", String),
    Column("status", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("first_token_seconds", Float),
    Column("seconds", Float, nullable=False),
    Column("request", JSON(none_as_null=True)),
    Column("response", JSON(none_as_null=True)),
)


def open_database(url: str) -> Engine:
    """The database at `url` (`sqlite:///FILE` or `postgresql://…`), made or brought up to date first.

    Safe when several processes open a new one at once. Raises `InputError` for a database of a newer Pumice, or one
    that cannot be reached.
    """
    engine = connect(url)
    try:
        with reachable(engine):
            with engine.connect() as connection:
                revision = read_revision(connection)
            if revision != REVISION:
                upgrade(engine, REVISION)
    except BaseException:
        engine.dispose()
        raise
    return engine
