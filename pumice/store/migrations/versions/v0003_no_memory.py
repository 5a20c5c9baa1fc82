"""Jobs run one after the other: what one is expected to need decides nothing."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Drop the column that nothing was written into."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("memory")
