"""Alembic's entry point: migrates the engine it is given, or the one of the settings."""

from alembic import context
from backend.db import make_engine
from backend.models import Base
from backend.settings import settings

engine = context.config.attributes.get("engine") or make_engine(settings().url)

LOCK = 0x71756174  # any number of our own

with engine.begin() as connection:
    # All or nothing, and one program at a time: of several that start together the first
    # migrates, and the others find it done. SQLite's driver would commit each table by itself.
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite cannot alter a table in place; alembic then copies it.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    context.run_migrations()
