"""Automatic backups of an embedded store before its schema changes."""

import os
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from backend.store.sqlite_copies import Snapshot, check_room, sync

MAX_BACKUPS = 3
_MARK = ".backup-"


def timestamp() -> str:
    """Return the current time for file names, which sort by time."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def automatic_backups(store_file: Path) -> list[Path]:
    """Return the automatic backups of a store, oldest first."""
    paths = store_file.parent.glob(f"{store_file.name}{_MARK}*-*Z")
    return sorted(paths, key=lambda path: path.name.rpartition("-")[2])


def embedded_file(engine: Engine) -> Path | None:
    """Return the file of an embedded store; None for a server or an in-memory store."""
    name = engine.url.database
    if engine.dialect.name != "sqlite" or not name or name == ":memory:":
        return None
    return Path(name)


def back_up_before_migration(engine: Engine, newest: str) -> Path | None:
    """Copy an embedded store before a migration to revision `newest`; keep the newest copies.

    Return None without a file or a schema, or if another process has migrated it.

    Raises:
        StoreFullError: there is no disk space for the copy.
    """
    path = embedded_file(engine)
    if path is None or not path.is_file() or path.stat().st_size == 0:
        return None
    with Snapshot(path) as snapshot:
        revision = snapshot.revision
        if revision in (None, newest):
            return None
        check_room(path.parent, snapshot.n_bytes)
        target = path.with_name(f"{path.name}{_MARK}{revision}-{timestamp()}")
        # Renamed when complete, so that an interruption leaves no partial backup.
        part = path.with_name(f".quanta-{target.name}.part")
        snapshot.write(part)
        os.replace(part, target)
        sync(target.parent)
    for old in automatic_backups(path)[:-MAX_BACKUPS]:
        old.unlink(missing_ok=True)
    return target
