"""Alembic's entry point: migrates the given engine, by default that of the settings."""

from alembic import context
from backend.settings import settings
from backend.store.database import make_engine
from backend.store.tables import Base

engine = context.config.attributes.get("engine") or make_engine(settings().url)

LOCK = 0x71756174  # an arbitrary number

with engine.connect() as connection:
    is_sqlite = connection.dialect.name == "sqlite"
    if is_sqlite:
        # Tables are altered by copy and drop, which would cascade to referring rows.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.commit()
    try:
        with connection.begin():
            # All or nothing, and one program at a time: of several that start together the first
            # migrates, and the others find it done. SQLite's driver would commit each table by
            # itself.
            if is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                # SQLite cannot alter a table in place; alembic then copies it.
                render_as_batch=is_sqlite,
                compare_type=True,
            )
            context.run_migrations()
            if is_sqlite:
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                assert not broken, f"the migration broke references: {broken[:3]}"
    finally:
        if is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            connection.commit()
