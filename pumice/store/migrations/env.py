"""What Alembic runs for every command: the migrations, in one transaction, on the connection it was given."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from pumice.store.tables import metadata

connection = context.config.attributes["connection"]
# SQLite's driver would commit each DDL statement by itself; half a migration must not stay.
connection.execute(text("BEGIN IMMEDIATE"))
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=False)
try:
    context.run_migrations()
except BaseException:
    connection.execute(text("ROLLBACK"))
    raise
connection.execute(text("COMMIT"))
