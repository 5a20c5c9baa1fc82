"""What a server needs: jobs that it starts itself, SigV4 pairs and budgets, documents, and the request log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Widen jobs and keys, make documents and requests."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("recipe", new_column_name="spec")
        jobs.add_column(sa.Column("host", sa.String()))
        jobs.add_column(sa.Column("heartbeat", sa.DateTime(timezone=True)))
        jobs.add_column(sa.Column("background", sa.Boolean(), nullable=False, server_default=sa.false()))
        jobs.add_column(sa.Column("memory", sa.BigInteger()))
        jobs.add_column(sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("keys") as keys:
        keys.add_column(sa.Column("access_key", sa.String()))
        keys.add_column(sa.Column("signing_secret", sa.String()))
        keys.add_column(sa.Column("requests_per_minute", sa.Integer()))
        keys.add_column(sa.Column("tokens_per_day", sa.Integer()))
        keys.create_unique_constraint("uq_keys_access_key", ["access_key"])
    op.create_table(
        "documents",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_documents"),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key", sa.String()),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("asked", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("variant", sa.String()),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("first_token_seconds", sa.Float()),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("request", sa.JSON()),
        sa.Column("response", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
    )
    op.create_index("ix_requests_at", "requests", ["at"])
