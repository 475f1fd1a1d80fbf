"""Consistent, checked and synced copies of SQLite files that are in use."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

from backend.errors import StoreError
from backend.store.database_errors import as_store_error, disk_full

Advance = Callable[[int], None]
PAGES_AT_ONCE = 2_048
TIMEOUT_SECONDS = 30.0
MARGIN_BYTES = 16 << 20


def check_room(folder: Path, needed: int) -> None:
    """Check that a folder has room for `needed` bytes.

    Raises:
        StoreFullError: it has not; the message gives the needed and available bytes.
    """
    available = shutil.disk_usage(folder).free
    if needed + MARGIN_BYTES > available:
        raise disk_full(
            f"{folder} needs {needed + MARGIN_BYTES:,} bytes, {available:,} bytes are available"
        )


def sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_file(path: Path) -> None:
    """Create an empty file that only its owner can read.

    Raises:
        FileExistsError: the file exists.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))


def quick_check(connection: sqlite3.Connection, what: str) -> None:
    """Check a file with SQLite's quick_check.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise StoreError(f"{what} is damaged: {verdict}", "Use another backup")


def schema_revision(connection: sqlite3.Connection) -> str | None:
    """Return the revision of a store's schema; None if it has none."""
    with suppress(sqlite3.OperationalError):  # no such table
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    return None


class Snapshot:
    """A consistent snapshot of a SQLite file.

    It is read in one transaction, so that concurrent writers neither appear in the copy nor restart
    it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw", uri=True, timeout=TIMEOUT_SECONDS, isolation_level=None
        )
        try:
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def n_bytes(self) -> int:
        """Bytes of the copy."""
        pages, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "page_size")
        )
        return pages * size

    @property
    def revision(self) -> str | None:
        """Revision of the schema; None if it has none."""
        return schema_revision(self._connection)

    def write(self, target: Path, advance: Advance = lambda _: None) -> None:
        """Write the copy atomically to a new file, checked, synced and of mode 0600.

        `advance` receives the number of newly copied bytes.

        Raises:
            StoreError: the copy is damaged.
            StoreFullError: the disk is full.
        """
        private_file(target)
        try:
            self._copy(target, advance)
            sync(target)
            sync(target.parent)
        except BaseException as error:
            target.unlink(missing_ok=True)
            if (store_error := as_store_error(error)) is not None:
                raise store_error from error
            raise

    def _copy(self, target: Path, advance: Advance) -> None:
        page = int(self._connection.execute("PRAGMA page_size").fetchone()[0])
        done = 0

        def progress(_status: int, remaining: int, total: int) -> None:
            nonlocal done
            advance((total - remaining - done) * page)
            done = total - remaining

        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            self._connection.backup(copy, pages=PAGES_AT_ONCE, progress=progress)
            settle(copy)
            quick_check(copy, f"the copy of {self.path.name}")


def settle(connection: sqlite3.Connection) -> None:
    """Merge the write-ahead log into the file.

    Raises:
        sqlite3.OperationalError: another connection uses the file.
    """
    connection.execute("PRAGMA journal_mode=DELETE").fetchone()
