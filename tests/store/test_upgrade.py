"""A database of the first version, with rows that refer to each other, comes to the newest schema whole."""

from __future__ import annotations

import orjson
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from pumice.config import Home
from pumice.store import tables
from pumice.store.connect import connect
from pumice.store.migrate import configuration, upgrade
from pumice.store.tables import open_database

AT = "2026-03-01 12:00:00.000000"
RECIPE = '{"data": "faq.jsonl", "epochs": 3}'
MODEL = ", 'candidate', 'lora', true, 'b', 'ab', 'folder:b', 'cd', 'ef', "
ROWS = f"""
INSERT INTO jobs (id, task, state, recipe, created, pid, pid_started, model)
    VALUES ('faq-0001', 'run', 'succeeded', '{RECIPE}', '{AT}', 7, 1772366400.25, 'faq@1');
INSERT INTO jobs (id, task, state, recipe, created) VALUES ('faq-0002', 'train', 'queued', '{RECIPE}', '{AT}');
INSERT INTO models (name, version, stage, method, adapter, base, base_sha256, base_source, template_sha256,
    data_sha256, job, created, recipe, exports) VALUES ('faq', 1{MODEL}'faq-0001', '{AT}', '{RECIPE}', '{{}}');
INSERT INTO models (name, version, stage, method, adapter, base, base_sha256, base_source, template_sha256,
    data_sha256, job, created, recipe, exports) VALUES ('faq', 2{MODEL}NULL, '{AT}', '{RECIPE}', '{{}}');
INSERT INTO keys (id, name, role, secret_sha256, created) VALUES ('key-1', 'ci', 'invoke', '00', '{AT}');
"""


@pytest.fixture
def old(either_home: Home) -> Home:
    """A home of the first version."""
    engine = connect(either_home.database)
    upgrade(engine, "0001")
    with engine.begin() as connection:
        for statement in ROWS.split(";\n")[:-1]:
            connection.execute(text(statement))
    engine.dispose()
    return either_home


def test_an_upgrade_loses_nothing(old: Home, database: Engine) -> None:
    with database.connect() as connection:
        jobs = connection.execute(select(tables.jobs).order_by(tables.jobs.c.id)).all()
        models = connection.execute(select(tables.models).order_by(tables.models.c.version)).all()
        (key,) = connection.execute(select(tables.keys)).all()
    assert [(job.id, job.spec, job.background, job.attempts) for job in jobs] == [
        ("faq-0001", orjson.loads(RECIPE), False, 0),
        ("faq-0002", orjson.loads(RECIPE), False, 0),
    ]
    assert (jobs[0].model, jobs[0].pid, jobs[0].pid_started) == ("faq@1", 7, 1772366400.25)
    assert [(model.version, model.job, model.adapter) for model in models] == [(1, "faq-0001", True), (2, None, True)]
    assert (key.id, key.name, key.secret_sha256, key.access_key) == ("key-1", "ci", "00", None)


def test_references_are_checked_after_an_upgrade_as_before(old: Home, database: Engine) -> None:
    for broken in ("UPDATE models SET job = 'nobody' WHERE version = 2", "DELETE FROM jobs WHERE id = 'faq-0001'"):
        with pytest.raises(IntegrityError), database.begin() as connection:
            connection.execute(text(broken))


def test_an_upgraded_database_has_the_tables_of_a_new_one(old: Home, database: Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


def test_an_upgrade_that_fails_leaves_the_old_database(old: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(config: object, revision: str) -> None:
        connection = configured.attributes["connection"]
        connection.execute(text("UPDATE keys SET name = 'lost'"))
        connection.execute(text("CREATE TABLE documents (kind VARCHAR)"))
        raise RuntimeError("pulled the plug")

    configured = configuration()
    with monkeypatch.context() as patch:
        patch.setattr("pumice.store.migrate.configuration", lambda: configured)
        patch.setattr(command, "upgrade", half)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            open_database(old.database)
    engine = open_database(old.database)
    with engine.connect() as connection:
        assert connection.execute(select(tables.keys.c.name)).scalars().all() == ["ci"]
        assert connection.execute(select(tables.documents)).all() == []
    engine.dispose()
