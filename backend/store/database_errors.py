"""Database and disk errors as errors with a remedy: full, locked or disconnected.

The failed write is rolled back; earlier commits remain.
"""

import errno
import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError

from backend.errors import StoreBusyError, StoreError, StoreFullError

_FULL_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT})
# PostgreSQL's codes: lock not available, deadlock, serialisation, too many connections, starting up
# or shutting down; class 08 is a connection that was lost.
_BUSY_STATES = frozenset({"55P03", "40P01", "40001", "53300", "57P01", "57P02", "57P03"})
_FULL_STATES = frozenset({"53100"})


def disk_full(what: str) -> StoreFullError:
    """Return the error of a full disk."""
    return StoreFullError(
        f"the disk is full ({what})",
        "Free some space (`quanta prune` lists unused objects), then run this again; finished "
        "work is kept",
    )


def _locked(what: str) -> StoreBusyError:
    return StoreBusyError(
        f"another program is writing to the database ({what})",
        "Wait for it, then run this again; finished work is kept",
    )


def _of_sqlite(error: sqlite3.Error) -> StoreError | None:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_FULL"):
        return disk_full(str(error))
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _locked(str(error))
    if name.startswith("SQLITE_IOERR"):
        # A full disk can appear as a failed write, sync or growth of a mapped file.
        return StoreFullError(
            f"the disk refused to read or write the database ({error}, {name})",
            "Check the disk and its free space, run `quanta check`, then try again",
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(
            f"the database file is damaged ({error})", "Restore a backup: `quanta restore FILE`"
        )
    return None


def _of_postgresql(error: DBAPIError) -> StoreError | None:
    state: Any = getattr(error.orig, "sqlstate", None)
    if state in _FULL_STATES:
        return disk_full(str(error.orig).strip())
    if state in {"55P03", "40P01", "40001"}:
        return _locked(str(error.orig).strip())
    lost = error.connection_invalidated or type(error).__name__ == "OperationalError"
    if state in _BUSY_STATES or (state or "").startswith("08") or (state is None and lost):
        return StoreBusyError(
            f"the connection to the database was lost ({str(error.orig).strip()})",
            "Check that the database server is running, then run this again; finished work is kept",
        )
    return None


def as_store_error(error: BaseException) -> StoreError | None:
    """Return the `StoreError` of a full disk, a lock or a lost connection, else None."""
    if isinstance(error, StoreBusyError | StoreFullError):
        return error
    if isinstance(error, DBAPIError):
        inner = error.orig
        return _of_sqlite(inner) if isinstance(inner, sqlite3.Error) else _of_postgresql(error)
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    if isinstance(error, OSError) and error.errno in _FULL_ERRNO:
        return disk_full(str(error))
    return None
