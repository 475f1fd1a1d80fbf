"""The store's engine, sessions and migrations."""

import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alembic.command
import orjson
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from backend.errors import StoreError
from backend.settings import Settings
from backend.store import directory_lock
from backend.store.automatic_backups import back_up_before_migration
from backend.store.database_errors import as_store_error

BUSY_TIMEOUT_MS = 30_000


def _set_sqlite_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL: a committed chunk survives a power cut, not only a killed process.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _masked(url: str) -> str:
    scheme, separator, rest = url.rpartition("@")
    return f"…@{rest}" if separator else scheme + rest


def _from_json(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)  # several times faster; most requests read summaries
    except orjson.JSONDecodeError:
        return json.loads(text)  # also reads NaN and Infinity


def make_engine(url: str) -> Engine:
    """Return an engine for `url`, with SQLite in WAL mode and foreign keys on.

    Raises:
        StoreError: the URL is not valid.
    """
    try:
        parsed = make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        engine = create_engine(parsed, pool_pre_ping=not is_sqlite, json_deserializer=_from_json)
    except (ArgumentError, ImportError) as error:  # ImportError: no driver of that name
        raise StoreError(
            # Masked up to the host: it may contain a password.
            f"QUANTA_DATABASE_URL {_masked(url)!r} is not a usable database URL",
            "Use sqlite:///path or postgresql://user@host/database",
        ) from error
    if not is_sqlite:
        return engine
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    event.listen(engine, "connect", _set_sqlite_pragmas)
    return engine


def _migrations() -> Path:
    # In a wheel the migrations are inside the package; in a checkout, at the top.
    here = Path(__file__).resolve().parent.parent
    packaged = here / "alembic"
    return packaged if packaged.is_dir() else here.parent / "alembic"


def alembic_config(engine: Engine) -> Config:
    """Return alembic's configuration for `engine`."""
    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["engine"] = engine
    return config


def revisions(engine: Engine) -> tuple[str | None, str]:
    """Return (revision of the database, newest revision of this program)."""
    head = ScriptDirectory.from_config(alembic_config(engine)).get_current_head()
    assert head is not None, "there is at least one migration"
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision(), head
    except DBAPIError as error:
        raise StoreError(
            f"cannot open the database at {engine.url.render_as_string()}: {error.orig}",
            "Check QUANTA_DATABASE_URL and QUANTA_DATA_DIR, and that the server is running",
        ) from error


@dataclass(frozen=True)
class SchemaUpgrade:
    """Result of an upgrade; `backup` is the copy of an embedded store made before it."""

    changed: bool
    backup: Path | None = None


def check_revision(engine: Engine, revision: str | None) -> None:
    """Check that this program knows a schema revision.

    Raises:
        StoreError: a newer program wrote the database.
    """
    scripts = ScriptDirectory.from_config(alembic_config(engine)).walk_revisions()
    if revision is not None and revision not in {script.revision for script in scripts}:
        raise StoreError(
            f"the database is at revision {revision}, which this program does not know",
            "Install the version of quanta-explorer that wrote it, or a newer one",
        )


def upgrade_schema(engine: Engine, *, with_backup: bool = True) -> SchemaUpgrade:
    """Migrate the database to the newest schema; back up an embedded one first.

    Raises:
        StoreError: a newer program wrote the database, or the migration failed and was rolled back.
        StoreFullError: there is no disk space for the backup.
    """
    current, head = revisions(engine)
    if current == head:
        return SchemaUpgrade(changed=False)
    check_revision(engine, current)
    backup = back_up_before_migration(engine, head) if with_backup else None
    try:
        alembic.command.upgrade(alembic_config(engine), "head")
    except Exception as error:
        raise _failed_migration(error, current, head, backup) from error
    return SchemaUpgrade(changed=True, backup=backup)


def _failed_migration(
    error: Exception, current: str | None, head: str, backup: Path | None
) -> StoreError:
    store_error = as_store_error(error)
    kind = StoreError if store_error is None else type(store_error)
    copy = f"; a copy from before is {backup}" if backup else ""
    return kind(
        f"the migration from revision {current} to {head} failed "
        f"({store_error.problem if store_error else error}); the database is as it was{copy}",
        store_error.remedy if store_error else "Use the version that wrote it, and report this",
    )


class Store:
    """An open, migrated database.

    Attributes:
        fence: called first in every transaction of `begin`; raises to roll it back. A worker's
            fence raises once the worker has lost its lease.
        claims: returns a context in which only this process computes the named result; None
            without other workers.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.fence: Callable[[Session], None] | None = None
        self.claims: Callable[[str], AbstractContextManager[None]] | None = None
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._release_lock: weakref.finalize[[int], Store] | None = None
        self._writing = threading.local()

    @property
    def is_writing(self) -> bool:
        """Whether this thread is inside `begin`, where another transaction would deadlock."""
        return getattr(self._writing, "depth", 0) > 0

    def hold_lock(self, descriptor: int | None) -> None:
        """Keep a lock until this store is closed."""
        if descriptor is not None:
            self._release_lock = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Close all connections and release the lock of the data directory."""
        self.engine.dispose()
        if self._release_lock is not None:
            self._release_lock()

    def claim(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which no other worker computes the result `name`.

        The result may be stored by then; check again inside.
        """
        return nullcontext() if self.claims is None else self.claims(name)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session that is rolled back unless it is committed."""
        with self._sessions() as session:
            yield session

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Yield a session that commits at the end."""
        self._writing.depth = getattr(self._writing, "depth", 0) + 1
        try:
            with self._sessions.begin() as session:
                if self.fence is not None:
                    self.fence(session)
                elif self.engine.dialect.name == "sqlite":
                    # Lock before reading, so that reads are current when it writes.
                    session.connection().exec_driver_sql("BEGIN IMMEDIATE")
                yield session
        finally:
            self._writing.depth -= 1


def open_store(settings: Settings) -> Store:
    """Open the store, creating and migrating it if needed.

    Raises:
        StoreBusyError: a restore is running.
        StoreError: it cannot be opened or migrated.
    """
    os.makedirs(settings.data_dir, exist_ok=True)
    engine = make_engine(settings.url)
    store = Store(engine, settings)
    try:
        store.hold_lock(directory_lock.lock_shared(settings.data_dir))
        upgrade_schema(engine)
    except BaseException:
        store.close()
        raise
    return store
