"""The migrations, as Alembic lays them out."""
