"""What Alembic runs for every command: the migrations, in the transaction of the connection it was given."""

from __future__ import annotations

from alembic import context

from pumice.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=False)
context.run_migrations()
