"""Alembic's entry point: migrates the engine it is given, or the one of the settings."""

from alembic import context
from backend.db import make_engine
from backend.models import Base
from backend.settings import settings

engine = context.config.attributes.get("engine") or make_engine(settings().url)

with engine.begin() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite cannot alter a table in place; alembic then copies it.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    context.run_migrations()
